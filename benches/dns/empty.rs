//! The empty responder: the system calls of a batched DNS server, the bytes of its replies, and nothing else.
//!
//! One thread and one socket for each worker. A batch is received, the bit that turns a query into a reply is set, and
//! the batch is sent back, with as many octets after each question as a real answer has. IPv4 only.

use std::{net::SocketAddrV4, os::fd::AsRawFd, thread};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, MultiHeaders, SockFlag, SockType, SockaddrIn, bind, recvmmsg, sendmmsg, setsockopt,
        socket, sockopt::ReusePort,
    },
};

use crate::Outcome;

/// Datagrams in a batch.
const BATCH: usize = 64;
/// Octets of a buffer; longer queries are cut.
const BUFFER_OCTETS: usize = 1_232;
/// Octets of a header (RFC 1035 section 4.1.1); shorter datagrams get no answer.
const HEADER_OCTETS: usize = 12;
/// QR and AA, in the third octet of a header.
const RESPONSE_BITS: u8 = 0x84;

/// Address, size of replies, number of workers.
#[derive(clap::Args)]
pub struct Arguments {
    /// Address to listen on.
    #[arg(long)]
    listen: SocketAddrV4,
    /// Octets of a reply, which is at least as long as its query.
    #[arg(long)]
    reply_octets: usize,
    /// Number of threads, each with a socket of its own.
    #[arg(long, default_value_t = 1)]
    workers: usize,
}

/// Answers until it is killed.
pub fn serve(arguments: &Arguments) -> Outcome<()> {
    let reply_octets = arguments.reply_octets;
    if reply_octets > BUFFER_OCTETS {
        return Err(format!("a reply of {reply_octets} octets is longer than {BUFFER_OCTETS}").into());
    }
    let address = SockaddrIn::from(arguments.listen);
    let mut workers = Vec::new();
    for _ in 0..arguments.workers {
        let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&socket, ReusePort, &true)?;
        bind(socket.as_raw_fd(), &address)?;
        workers.push(thread::spawn(move || answer(&socket, reply_octets)));
    }
    for worker in workers {
        worker.join().map_err(|_| "a worker panicked")??;
    }
    Ok(())
}

fn answer(socket: &impl AsRawFd, reply_octets: usize) -> Outcome<()> {
    let socket = socket.as_raw_fd();
    let mut buffers = Box::new([[0; BUFFER_OCTETS]; BATCH]);
    let mut received = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut replied = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let (mut lengths, mut addresses) = ([0; BATCH], [None; BATCH]);
    loop {
        let mut count = 0;
        let mut slices = buffers.each_mut().map(|buffer| [std::io::IoSliceMut::new(buffer)]);
        match recvmmsg(socket, &mut received, slices.iter_mut(), MsgFlags::MSG_WAITFORONE, None) {
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
            Ok(messages) => {
                for message in messages {
                    (lengths[count], addresses[count]) = (message.bytes, message.address);
                    count += 1;
                }
            }
        }
        for at in 0..count {
            buffers[at][2] |= RESPONSE_BITS;
            if lengths[at] < HEADER_OCTETS {
                addresses[at] = None;
            }
            lengths[at] = lengths[at].max(reply_octets);
        }
        let mut sent = 0;
        while sent < count {
            if addresses[sent].is_none() {
                sent += 1;
                continue;
            }
            let slices: [_; BATCH] = std::array::from_fn(|at| [std::io::IoSlice::new(&buffers[at][..lengths[at]])]);
            let (slices, addresses) = (&slices[sent..count], &addresses[sent..count]);
            // A reply that cannot be sent is dropped, as a server would drop it.
            let done = sendmmsg(socket, &mut replied, slices, addresses, [], MsgFlags::empty());
            sent += done.map_or(1, |messages| messages.count().max(1));
        }
    }
}

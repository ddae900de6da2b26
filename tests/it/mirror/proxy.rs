//! A proxy between a mirror and its primary: forwards to any primary, and can alter the stream.

use std::{
    io::{BufRead as _, BufReader, Read, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use touchmark::{
    entry::{ErasedValues, StoredEntry},
    protocol::replica::{HEAD_BYTES, Record},
};

/// Data of the value whose entry is altered.
pub const MARKED: &str = "alter-this";

/// Alteration of the entry with the marked value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tamper {
    /// A bit of the value is flipped.
    Flip,
    /// The entry is left out.
    LeaveOut,
    /// The entry comes behind the next one.
    Swap,
    /// The entry comes without its first value, as if the value had been erased.
    Redact,
}

struct State {
    target: SocketAddr,
    tamper: Option<Tamper>,
    /// Open connections.
    open: Vec<TcpStream>,
}

/// A proxy, whose thread ends with the process.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { target, tamper: None, open: Vec::new() }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&shared);
                // A broken connection is part of the tests.
                thread::spawn(move || drop(serve(client, &shared)));
            }
        });
        Self { address, state }
    }

    /// URL of the log, for mirrors.
    pub fn url(&self) -> String {
        format!("http://{}/log", self.address)
    }

    /// Forwards to another primary; open connections are cut.
    pub fn forward_to(&self, target: SocketAddr) {
        let mut state = self.state.lock().unwrap();
        state.target = target;
        cut(&mut state);
    }

    pub fn tamper(&self, tamper: Option<Tamper>) {
        let mut state = self.state.lock().unwrap();
        state.tamper = tamper;
        cut(&mut state);
    }
}

fn cut(state: &mut State) {
    for stream in state.open.drain(..) {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

fn serve(client: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut line = request.clone();
    while line != "\r\n" {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
    }
    let path = request.split(' ').nth(1).unwrap_or("/").to_owned();
    let (target, tamper) = {
        let mut state = state.lock().unwrap();
        state.open.push(client.try_clone()?);
        (state.target, state.tamper)
    };
    let mut upstream = TcpStream::connect(target)?;
    write!(upstream, "GET {path} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n")?;
    let mut upstream = BufReader::new(upstream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if upstream.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let mut client = client;
    if !path.contains("/replica") || !head.starts_with("HTTP/1.1 200") {
        client.write_all(head.as_bytes())?;
        return std::io::copy(&mut upstream, &mut client).map(drop);
    }
    client.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
    let mut stream = Chunks { upstream, left: 0 };
    let mut held: Option<Record> = None;
    loop {
        let record = read(&mut stream)?;
        let marked = match &record {
            Record::Entry(bytes) => bytes.windows(MARKED.len()).position(|window| window == MARKED.as_bytes()),
            _ => None,
        };
        let mut out = Vec::new();
        match (record, marked, tamper) {
            (Record::Entry(mut bytes), Some(at), Some(Tamper::Flip)) => {
                bytes[at] ^= 1;
                Record::Entry(bytes).put(&mut out);
            }
            (Record::Entry(bytes), Some(_), Some(Tamper::Redact)) => {
                Record::Entry(StoredEntry::read(&bytes).unwrap().redacted(ErasedValues::One(1))).put(&mut out);
            }
            (_, Some(_), Some(Tamper::LeaveOut)) => {}
            (record, Some(_), Some(Tamper::Swap)) => held = Some(record),
            (record, ..) => {
                record.put(&mut out);
                if let Some(held) = held.take() {
                    held.put(&mut out);
                }
            }
        }
        client.write_all(&out)?;
    }
}

fn read(stream: &mut impl Read) -> std::io::Result<Record> {
    let mut head = [0; HEAD_BYTES];
    stream.read_exact(&mut head)?;
    let mut bytes = vec![0; Record::len_of(head).unwrap()];
    stream.read_exact(&mut bytes)?;
    Ok(Record::of(head, bytes).unwrap())
}

/// A body in chunks (RFC 9112 section 7.1).
struct Chunks {
    upstream: BufReader<TcpStream>,
    left: usize,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.left == 0 {
            let mut line = String::new();
            if self.upstream.read_line(&mut line)? == 0 {
                return Ok(0);
            }
            let line = line.trim();
            if !line.is_empty() {
                self.left = usize::from_str_radix(line, 16).map_err(std::io::Error::other)?;
                if self.left == 0 {
                    return Ok(0);
                }
            }
        }
        let most = buffer.len().min(self.left);
        let read = self.upstream.read(&mut buffer[..most])?;
        self.left -= read;
        Ok(read)
    }
}

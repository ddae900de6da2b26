//! Readers over TLS, HTTPS and QUIC: one connection each, with several questions under way.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    thread::{self, JoinHandle},
};

use futures_util::{StreamExt as _, stream};
use tokio::runtime::Builder;
use touchmark::server::dns::encrypted::EncryptedAddresses;

use super::{
    Shared, Tally,
    over_dns::{question, seen},
    stages::SUBJECTS,
};
use crate::dns_support::encrypted::{Certificate, Encrypted};

/// Number of questions under way at the same time.
const WINDOW: usize = 8;

/// Starts a reader for each protocol, on a thread of its own: the runtime's threads are left to the node.
pub fn start(at: EncryptedAddresses, certificate: &Certificate, shared: &Arc<Shared>) -> [JoinHandle<Tally>; 3] {
    let spawn = |reader: fn(SocketAddr, &Certificate, &Shared) -> Tally, at: Option<SocketAddr>| {
        let (certificate, shared) = (certificate.clone(), Arc::clone(shared));
        thread::spawn(move || reader(at.unwrap(), &certificate, &shared))
    };
    [spawn(read_tls, at.tls), spawn(read_https, at.https), spawn(read_quic, at.quic)]
}

fn read_tls(server: SocketAddr, certificate: &Certificate, shared: &Shared) -> Tally {
    read("TLS", shared, Encrypted::tls(server, certificate))
}

fn read_https(server: SocketAddr, certificate: &Certificate, shared: &Shared) -> Tally {
    read("HTTPS", shared, Encrypted::https(server, certificate))
}

fn read_quic(server: SocketAddr, certificate: &Certificate, shared: &Shared) -> Tally {
    read("QUIC", shared, Encrypted::quic(server, certificate))
}

/// Reads over one connection; each answer is followed by the next question.
fn read(way: &'static str, shared: &Shared, connecting: impl Future<Output = Encrypted>) -> Tally {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let (mut tally, connection) = (Tally::of(way), &connecting.await);
        let numbers = stream::iter((0u32..).take_while(|_| !shared.is_over()));
        let answers = numbers.map(|number| async move {
            let least = shared.least(number as usize % SUBJECTS);
            // With EDNS, which shows that an identifier was retired.
            let response = connection.ask(&question(least, number / SUBJECTS as u32).edns()).await;
            (least, seen(&response).expect("nothing is cut over a stream"))
        });
        let mut answers = pin!(answers.buffer_unordered(WINDOW));
        while let Some((least, seen)) = answers.next().await {
            tally.check(shared, least, seen);
        }
        tally
    })
}

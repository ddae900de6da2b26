//! DNS over UDP: a [`DatagramService`] that answers datagrams with the [`Responder`].
//!
//! A request is parsed, its cookie verified and its zone looked up up to three times: by the loop, by the reader if the
//! answer takes a disk, and after a walk. Between these, only the datagram itself is kept, so that requests cannot fill
//! any table here.
//!
//! Deliberately absent: the loop and its threads ([`crate::server::datagram`]), and the content of responses
//! (`protocol::dns`).

use std::{io, net::UdpSocket, sync::Arc};

use super::{
    Context,
    counters::{Adders, AllCounters, Count, Counters},
    limits::{allowance, rate_key},
    walks::Walks,
};
pub(super) use crate::server::datagram::open;
use crate::{
    protocol::dns::{Client, Responded, Responder, Transport},
    resolver::Depth,
    server::datagram::{
        DatagramClient, DatagramListener, DatagramService, ReplyPath, Sent, Users,
        rate::{RateKey, Verdict},
    },
};

/// The workers of one address.
pub(super) struct UdpListener(DatagramListener);

impl UdpListener {
    /// Starts a worker on each socket.
    ///
    /// # Errors
    ///
    /// If the system gives no thread or no second handle of a socket.
    pub(super) fn start(sockets: Vec<UdpSocket>, context: &Context) -> io::Result<Self> {
        DatagramListener::run(sockets, &DnsDatagrams::new(context), &context.limiter).map(Self)
    }

    /// Stops the workers, as [`DatagramListener::shutdown`].
    pub(super) fn shutdown(self) {
        self.0.shutdown();
    }
}

/// DNS as a service of the datagram loop.
struct DnsDatagrams {
    responder: Arc<Responder>,
    counters: Arc<Counters>,
    all_counters: Arc<AllCounters>,
    walks: Arc<Walks>,
}

impl DnsDatagrams {
    fn new(context: &Context) -> Self {
        Self {
            responder: Arc::clone(&context.responder),
            counters: Arc::default(),
            all_counters: Arc::clone(&context.counters),
            walks: Arc::clone(&context.walks),
        }
    }
}

fn client_over_udp(client: &DatagramClient) -> Client {
    let DatagramClient { address, now_unix, has_limits } = *client;
    Client { address, transport: Transport::Datagram, now_unix, has_limits }
}

impl DatagramService for DnsDatagrams {
    type Answer = Responded;

    fn instance(&self, users: Users) -> Self {
        let adders = match users {
            Users::OneThread => Adders::One,
            Users::AnyThread => Adders::Several,
        };
        Self {
            responder: Arc::clone(&self.responder),
            counters: self.all_counters.add(adders),
            all_counters: Arc::clone(&self.all_counters),
            walks: Arc::clone(&self.walks),
        }
    }

    fn answer(&self, request: &[u8], client: &DatagramClient, depth: Depth, out: &mut Vec<u8>) -> Responded {
        self.responder.respond(request, &client_over_udp(client), depth, out)
    }

    fn rate_key(&self, responded: &Responded) -> Option<RateKey> {
        rate_key(responded)
    }

    fn within(&self, responded: Responded, verdict: Verdict, response: &mut Vec<u8>) -> Responded {
        responded.within(allowance(verdict), response)
    }

    fn conclude(&self, responded: Responded, request: &[u8], path: &ReplyPath<'_, Self>) -> Sent {
        self.counters.count(&responded);
        match responded {
            Responded::Written(_) => Sent::Response,
            Responded::Deferred => Sent::Deferred,
            Responded::Silent | Responded::Withheld(_) => Sent::Nothing,
            Responded::Walk { identifier, .. } => {
                if let Some(reply) = path.later() {
                    let request = Box::<[u8]>::from(request);
                    self.walks.spawn(*identifier, path.client(), move |walked| {
                        reply.respond(&request, |service, client, out| {
                            let client = client_over_udp(client);
                            service.responder.respond_walked(&request, &client, walked.as_ref(), out)
                        });
                    });
                }
                Sent::Nothing
            }
        }
    }

    fn ignored(&self, datagrams: u64) {
        self.counters.add(Count::Ignored, datagrams);
    }

    fn shed(&self, requests: u64) {
        self.counters.add(Count::Shed, requests);
    }
}

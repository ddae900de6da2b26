//! DNS over QUIC (RFC 9250): a stream for each request, its message with the length before it, both ways.
//!
//! * Handshakes run side by side, so a client that falls silent in one delays nobody.
//! * When a quarter of the connections are taken, a client first has to show that it gets what is sent to its address
//!   (RFC 9000 section 8.1.2): forged addresses then cost no memory.
//! * A client network's connections are counted when a client has shown its address or a handshake is through, so that forged
//!   ones cannot use up those of somebody else.
//!
//! Deliberately absent: early data (RFC 9250 section 4.5 allows it, an attacker can replay it), zone transfers, a bound on the
//! requests of a connection as a whole.

use std::{
    future::pending,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use quinn::{
    Connection, Endpoint, Incoming, ReadToEndError, RecvStream, SendStream, ServerConfig, TransportConfig, VarInt,
    crypto::rustls::QuicServerConfig,
};
use tokio::{sync::watch, task::JoinSet, time::timeout};

use super::QUIC;
use crate::{
    protocol::dns::request::Request,
    server::{
        accept::stopped,
        activity::Activity,
        dns::{
            DnsLimits,
            tcp::{Buffers, Streams, TCP_REQUEST_OCTETS_MAX},
        },
        places::{Full, Gate, Place},
    },
};

/// The protocol's name in the handshake (RFC 9250 section 4.1.1).
pub(super) const ALPN: &[u8] = b"doq";
/// Codes of closed connections and reset streams (RFC 9250 section 4.3).
const NO_ERROR: VarInt = VarInt::from_u32(0);
const INTERNAL_ERROR: VarInt = VarInt::from_u32(1);
const PROTOCOL_ERROR: VarInt = VarInt::from_u32(2);
const EXCESSIVE_LOAD: VarInt = VarInt::from_u32(4);
const UNSPECIFIED_ERROR: VarInt = VarInt::from_u32(5);
/// The longest stream of a request, in octets: its length and itself.
const STREAM_OCTETS_MAX: u32 = TCP_REQUEST_OCTETS_MAX as u32 + 2;
/// How much of responses waits for a client on one connection, in octets: two of the longest.
const SEND_OCTETS_MAX: u64 = 131_072;
/// How many handshakes wait for the loop that takes them.
const INCOMING_MAX: usize = 256;
/// How much of a handshake that waits is kept, in octets.
const INCOMING_OCTETS_MAX: u64 = 16_384;
/// How long a connection that was told to make room may take for that.
const MAKING_ROOM_TIMEOUT: Duration = Duration::from_millis(500);
/// Option of the keep-alive of TCP (RFC 7828 section 3.1).
const OPTION_TCP_KEEPALIVE: u16 = 11;

/// The client broke a rule of RFC 9250 section 4.3.3; its connection ends.
struct ProtocolError;

/// Binds the socket.
pub(super) fn bind(address: SocketAddr, tls: rustls::ServerConfig, limits: &DnsLimits) -> io::Result<Endpoint> {
    let crypto = QuicServerConfig::try_from(Arc::new(tls)).map_err(io::Error::other)?;
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(limits.streams_max.into())
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(STREAM_OCTETS_MAX.into())
        .receive_window(limits.streams_max.saturating_mul(STREAM_OCTETS_MAX).into())
        .send_window(SEND_OCTETS_MAX)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(limits.idle_timeout().try_into().map_err(io::Error::other)?));
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport))
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_OCTETS_MAX)
        .incoming_buffer_size_total(INCOMING_OCTETS_MAX * INCOMING_MAX as u64);
    Endpoint::server(config, address)
}

/// What the connections of the listener share.
pub(super) struct Shared {
    pub(super) streams: Streams,
    pub(super) gate: Gate,
    pub(super) limits: DnsLimits,
}

/// Takes connections until the server stops, then waits for those that are there.
pub(super) async fn accept(endpoint: Endpoint, shared: Shared, stopping: watch::Receiver<bool>) {
    let shared = Arc::new(shared);
    let mut stop = stopping.clone();
    let mut connections = JoinSet::new();
    let connections_max = shared.limits.connections_max;
    loop {
        let incoming = tokio::select! {
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next() => continue,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { break };
        if connections.len() >= connections_max / 4 && incoming.may_retry() {
            // It fails for one that may not be asked again, which was looked at.
            let _ = incoming.retry();
        } else if connections.len() >= connections_max.saturating_mul(2) {
            // So many wait for others to make room, or to show their addresses.
            incoming.refuse();
        } else {
            connections.spawn(serve(incoming, Arc::clone(&shared), stopping.clone()));
        }
    }
    // Who comes now is refused.
    endpoint.set_server_config(None);
    let drain_timeout = Duration::from_millis(shared.limits.drain_timeout_ms);
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(drain_timeout, drained).await.is_err() {
        tracing::warn!(listener = QUIC, connections = connections.len(), "connections do not end: they are cut");
        connections.shutdown().await;
    }
    endpoint.close(NO_ERROR, b"");
    let _ = timeout(drain_timeout, endpoint.wait_idle()).await;
}

/// Shakes hands, takes a place, and answers what comes.
///
/// A client that showed its address has a place before the handshake, so that one that falls silent in it makes room as any
/// other does; any other has one afterwards.
async fn serve(incoming: Incoming, shared: Arc<Shared>, mut stopping: watch::Receiver<bool>) {
    let mut early = None;
    if incoming.remote_address_validated() {
        match place_soon(&shared.gate, incoming.remote_address().ip()).await {
            Some(place) => early = Some(place),
            None => return incoming.refuse(),
        }
    }
    let evicted = early.as_ref().map(|place| place.activity().clone());
    let connection = tokio::select! {
        () = stopped(&mut stopping) => return,
        () = async { match &evicted { Some(activity) => activity.evicted().await, None => pending().await } } => return,
        connection = timeout(shared.limits.handshake_timeout(), incoming) => connection,
    };
    let Ok(Ok(connection)) = connection else { return };
    let place = match early {
        Some(place) => Some(place),
        None => place_soon(&shared.gate, connection.remote_address().ip()).await,
    };
    let Some(place) = place else { return connection.close(EXCESSIVE_LOAD, b"too many connections") };
    place.activity().opened();
    tokio::select! {
        () = place.activity().evicted() => connection.close(EXCESSIVE_LOAD, b"others need the place"),
        () = attend(&connection, &shared, place.activity(), stopping) => {}
    }
}

/// A place, now or when another connection has made room; `None` when none does.
async fn place_soon(gate: &Gate, client: IpAddr) -> Option<Place> {
    match gate.try_enter(client) {
        Ok(place) => Some(place),
        Err(Full::MakingRoom) => timeout(MAKING_ROOM_TIMEOUT, gate.enter(client)).await.ok().flatten(),
        Err(Full::Network | Full::Busy) => None,
    }
}

/// Answers the requests of one connection, each on its stream, until it idles or the server stops.
async fn attend(
    connection: &Connection,
    shared: &Arc<Shared>,
    activity: &Activity,
    mut stopping: watch::Receiver<bool>,
) {
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            () = stopped(&mut stopping) => break,
            Some(answered) = streams.join_next() => {
                if let Ok(Err(ProtocolError)) = answered {
                    return connection.close(PROTOCOL_ERROR, b"");
                }
            }
            accepted = timeout(shared.limits.idle_timeout(), connection.accept_bi()),
                if streams.len() < shared.limits.streams_max as usize => match accepted {
                    Ok(Ok((send, receive))) => {
                        let asked = Asked { connection: connection.clone(), activity: activity.clone() };
                        streams.spawn(answer(send, receive, asked, Arc::clone(shared), stopping.clone()));
                    }
                    Ok(Err(_)) => return,
                    Err(_) => break,
                },
        }
    }
    while streams.join_next().await.is_some() {}
    connection.close(NO_ERROR, b"");
}

/// Whose request a stream is.
struct Asked {
    connection: Connection,
    activity: Activity,
}

/// Reads one request, answers it, and waits until the client has the response.
async fn answer(
    mut send: SendStream,
    mut receive: RecvStream,
    asked: Asked,
    shared: Arc<Shared>,
    mut stopping: watch::Receiver<bool>,
) -> Result<(), ProtocolError> {
    let idle_timeout = shared.limits.idle_timeout();
    let stream = tokio::select! {
        () = stopped(&mut stopping) => Err(UNSPECIFIED_ERROR),
        stream = read(&mut receive, idle_timeout) => stream,
    };
    // What did not come to its end is no request.
    let _under_way = stream.is_ok().then(|| asked.activity.begin());
    let mut buffers = Buffers::default();
    let framed = match stream {
        Ok(stream) => respond(&stream, asked.connection.remote_address().ip(), &shared, &mut buffers).await,
        Err(code) => Err(code),
    };
    let framed = match framed {
        Ok(framed) => framed,
        Err(code) => {
            // A stream that is dropped would end as if it were whole.
            let _ = send.reset(code);
            return if code == PROTOCOL_ERROR { Err(ProtocolError) } else { Ok(()) };
        }
    };
    let sent = async {
        if send.write_all(framed).await.is_ok() && send.finish().is_ok() {
            let _ = send.stopped().await;
        }
    };
    // A client that does not take it in time, or went away, needs nothing more.
    let _ = timeout(idle_timeout, sent).await;
    Ok(())
}

/// Reads a stream to its end, which a server may wait for (RFC 9250 section 4.2).
///
/// # Errors
///
/// The code that says why the request gets no response.
async fn read(receive: &mut RecvStream, idle_timeout: Duration) -> Result<Vec<u8>, VarInt> {
    match timeout(idle_timeout, receive.read_to_end(STREAM_OCTETS_MAX as usize)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(ReadToEndError::TooLong)) => Err(PROTOCOL_ERROR),
        // The client took it back, or left it unfinished.
        Ok(Err(ReadToEndError::Read(_))) | Err(_) => Err(UNSPECIFIED_ERROR),
    }
}

/// The response to the request in a stream, with its length before it.
///
/// # Errors
///
/// The code that says why there is none.
async fn respond<'a>(
    stream: &[u8],
    client: IpAddr,
    shared: &Shared,
    buffers: &'a mut Buffers,
) -> Result<&'a [u8], VarInt> {
    let request = unframed(stream).ok_or(PROTOCOL_ERROR)?;
    shared.streams.respond(request, client, buffers).await.ok_or(INTERNAL_ERROR)
}

/// The request in a stream: as long as it says, with the id 0 (RFC 9250 section 4.2.1), and without the keep-alive of TCP
/// (section 5.5.2).
fn unframed(stream: &[u8]) -> Option<&[u8]> {
    let (octets, request) = stream.split_first_chunk()?;
    let whole = usize::from(u16::from_be_bytes(*octets)) == request.len();
    let request = Some(request).filter(|request| whole && request.starts_with(&[0, 0]))?;
    let edns = Request::read(request).ok().and_then(|request| request.edns);
    let keepalive = edns.is_some_and(|edns| edns.option(OPTION_TCP_KEEPALIVE).is_some());
    (!keepalive).then_some(request)
}

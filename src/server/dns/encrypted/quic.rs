//! DNS over QUIC (RFC 9250): a stream for each request, with length-prefixed messages both ways.
//!
//! * Handshakes run in parallel, so that a client that stalls in one delays no other.
//! * When a quarter of the connections are taken, clients must first validate their address (RFC 9000 section 8.1.2):
//!   forged addresses then cost no memory.
//! * A connection counts for its client network once the address is validated or the handshake is complete, so that
//!   forged addresses cannot use up another client's share.
//!
//! Deliberately absent: early data (RFC 9250 section 4.5 allows it, but an attacker can replay it), zone transfers, a
//! bound on the total number of requests of a connection.

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
/// Maximum length of a request's stream, in octets: the length prefix and the message.
const STREAM_OCTETS_MAX: u32 = TCP_REQUEST_OCTETS_MAX as u32 + 2;
/// Maximum of unacknowledged response data on one connection, in octets: two responses of maximum length.
const SEND_OCTETS_MAX: u64 = 131_072;
/// Maximum number of handshakes that wait for the accept loop.
const INCOMING_MAX: usize = 256;
/// Maximum amount of data kept of a waiting handshake, in octets.
const INCOMING_OCTETS_MAX: u64 = 16_384;
/// Maximum wait for an evicted connection to close.
const MAKING_ROOM_TIMEOUT: Duration = Duration::from_millis(500);
/// EDNS option of TCP keep-alive (RFC 7828 section 3.1).
const OPTION_TCP_KEEPALIVE: u16 = 11;

/// Violation of RFC 9250 section 4.3.3 by the client, which ends its connection.
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

/// State shared by the connections of the listener.
pub(super) struct Shared {
    pub(super) streams: Streams,
    pub(super) gate: Gate,
    pub(super) limits: DnsLimits,
}

/// Accepts connections until the server stops, then waits for the open ones up to the drain timeout.
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
            // Fails only if a retry is not allowed, which was checked.
            let _ = incoming.retry();
        } else if connections.len() >= connections_max.saturating_mul(2) {
            // This many connections wait for an eviction, or for their handshake.
            incoming.refuse();
        } else {
            connections.spawn(serve(incoming, Arc::clone(&shared), stopping.clone()));
        }
    }
    // New connections are refused from now on.
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

/// Runs the handshake, takes a place, and answers the requests.
///
/// A client with a validated address takes its place before the handshake, so that it can be evicted if it stalls; any
/// other client takes its place afterwards.
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

/// A place, now or after an eviction; `None` if no connection can be evicted.
async fn place_soon(gate: &Gate, client: IpAddr) -> Option<Place> {
    match gate.try_enter(client) {
        Ok(place) => Some(place),
        Err(Full::MakingRoom) => timeout(MAKING_ROOM_TIMEOUT, gate.enter(client)).await.ok().flatten(),
        Err(Full::Network | Full::Busy) => None,
    }
}

/// Answers the requests of one connection, each on its stream, until the connection is idle for too long or the server
/// stops.
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

/// Origin of a stream.
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
    // A stream without its end is no request.
    let _under_way = stream.is_ok().then(|| asked.activity.begin());
    let mut buffers = Buffers::default();
    let framed = match stream {
        Ok(stream) => respond(&stream, asked.connection.remote_address().ip(), &shared, &mut buffers).await,
        Err(code) => Err(code),
    };
    let framed = match framed {
        Ok(framed) => framed,
        Err(code) => {
            // A stream that is only dropped would look complete.
            let _ = send.reset(code);
            return if code == PROTOCOL_ERROR { Err(ProtocolError) } else { Ok(()) };
        }
    };
    let sent = async {
        if send.write_all(framed).await.is_ok() && send.finish().is_ok() {
            let _ = send.stopped().await;
        }
    };
    // A client that does not read in time, or is gone, needs nothing more.
    let _ = timeout(idle_timeout, sent).await;
    Ok(())
}

/// Reads a stream to its end, for which a server may wait (RFC 9250 section 4.2).
///
/// # Errors
///
/// Error code for a request that gets no response.
async fn read(receive: &mut RecvStream, idle_timeout: Duration) -> Result<Vec<u8>, VarInt> {
    match timeout(idle_timeout, receive.read_to_end(STREAM_OCTETS_MAX as usize)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(ReadToEndError::TooLong)) => Err(PROTOCOL_ERROR),
        // The client reset the stream, or left it unfinished.
        Ok(Err(ReadToEndError::Read(_))) | Err(_) => Err(UNSPECIFIED_ERROR),
    }
}

/// Length-prefixed response to the request of a stream.
///
/// # Errors
///
/// Error code if there is no response.
async fn respond<'a>(
    stream: &[u8],
    client: IpAddr,
    shared: &Shared,
    buffers: &'a mut Buffers,
) -> Result<&'a [u8], VarInt> {
    let request = unframed(stream).ok_or(PROTOCOL_ERROR)?;
    shared.streams.respond(request, client, buffers).await.ok_or(INTERNAL_ERROR)
}

/// The request of a stream; `None` unless its length is as stated, its id is 0 (RFC 9250 section 4.2.1), and it has no
/// TCP keep-alive option (section 5.5.2).
fn unframed(stream: &[u8]) -> Option<&[u8]> {
    let (octets, request) = stream.split_first_chunk()?;
    let whole = usize::from(u16::from_be_bytes(*octets)) == request.len();
    let request = Some(request).filter(|request| whole && request.starts_with(&[0, 0]))?;
    let edns = Request::read(request).ok().and_then(|request| request.edns);
    let keepalive = edns.is_some_and(|edns| edns.option(OPTION_TCP_KEEPALIVE).is_some());
    (!keepalive).then_some(request)
}

//! Traces and recalls as streams: they run in the desk's pool, and stop if the client stops reading.

use std::{mem, ops::ControlFlow, pin::Pin, time::Duration};

use futures_util::{Stream, stream};
use tokio::{runtime::Handle, sync::mpsc, time::timeout};
use tonic::Status;

use super::without_answer;
use crate::resolver::{Desk, HistoryError, NoAnswer, ReadShare, Tracer};

/// Maximum number of messages that wait for the client.
const MESSAGES_AHEAD: usize = 8;
/// Approximate size of a message, in bytes, at which it is sent.
const MESSAGE_BYTES: usize = 64 << 10;
/// Maximum time that a client may read nothing.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Stream of the messages of one trace.
pub(in crate::server::grpc) type Messages<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

/// Sender that collects steps into messages.
pub(super) struct Sender<M> {
    messages: mpsc::Sender<Result<M, Status>>,
    runtime: Handle,
    message: M,
    bytes: usize,
}

impl<M: Default> Sender<M> {
    /// Adds a step with `put`, which returns its approximate size in bytes. Breaks if the client is gone or stops
    /// reading.
    pub(super) fn add(&mut self, put: impl FnOnce(&mut M) -> usize) -> ControlFlow<()> {
        self.bytes += put(&mut self.message);
        if self.bytes < MESSAGE_BYTES { ControlFlow::Continue(()) } else { self.flush() }
    }

    fn flush(&mut self) -> ControlFlow<()> {
        self.bytes = 0;
        let message = mem::take(&mut self.message);
        self.send(Ok(message))
    }

    fn send(&self, message: Result<M, Status>) -> ControlFlow<()> {
        let sent = self.runtime.block_on(async { timeout(SEND_TIMEOUT, self.messages.send(message)).await });
        if matches!(sent, Ok(Ok(()))) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

/// Starts a trace or a recall, and returns the stream of its messages.
///
/// # Errors
///
/// `RESOURCE_EXHAUSTED` if too many are under way.
pub(super) fn start<M: Default + Send + 'static>(
    desk: &Desk,
    run: impl FnOnce(&Tracer<'_>, &mut Sender<M>) -> Result<(), HistoryError> + Send + 'static,
) -> Result<Messages<M>, Status> {
    let (messages, taken) = mpsc::channel(MESSAGES_AHEAD);
    let mut sender = Sender { messages, runtime: Handle::current(), message: M::default(), bytes: 0 };
    let started = desk.start_trace(move |tracer| {
        let ran = run(tracer, &mut sender);
        // If the client is gone, nobody is left to be told.
        let _ = match ran {
            Ok(()) if sender.bytes > 0 => sender.flush(),
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => sender.send(Err(without_answer(&NoAnswer::from(error)))),
        };
    });
    started.map_err(|_| {
        let limit = ReadShare::Traces.threads_max();
        Status::resource_exhausted(format!("{limit} traces and recalls are under way; try again later"))
    })?;
    Ok(Box::pin(stream::unfold(taken, |mut taken| async move { Some((taken.recv().await?, taken)) })))
}

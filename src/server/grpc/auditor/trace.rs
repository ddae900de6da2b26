//! Traces and recalls as streams: they run in the desk's pool, and stop when nobody takes what they send.

use std::{mem, ops::ControlFlow, pin::Pin, time::Duration};

use futures_util::{Stream, stream};
use tokio::{runtime::Handle, sync::mpsc, time::timeout};
use tonic::Status;

use super::without_answer;
use crate::resolver::{Desk, HistoryError, NoAnswer, ReadShare, Tracer};

/// Messages that wait for the client.
const MESSAGES_AHEAD: usize = 8;
/// About how many bytes a message gathers.
const MESSAGE_BYTES: usize = 64 << 10;
/// How long a client may take nothing.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// The messages of one trace.
pub(in crate::server::grpc) type Messages<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

/// Gathers steps into messages and sends them.
pub(super) struct Sender<M> {
    messages: mpsc::Sender<Result<M, Status>>,
    runtime: Handle,
    message: M,
    bytes: usize,
}

impl<M: Default> Sender<M> {
    /// Adds a step with `put`, which says about how many bytes it took. Breaks when the client has gone or takes nothing.
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

/// Starts a trace or a recall, and gives the stream of what it sends.
///
/// # Errors
///
/// `RESOURCE_EXHAUSTED` when too many are under way.
pub(super) fn start<M: Default + Send + 'static>(
    desk: &Desk,
    run: impl FnOnce(&Tracer<'_>, &mut Sender<M>) -> Result<(), HistoryError> + Send + 'static,
) -> Result<Messages<M>, Status> {
    let (messages, taken) = mpsc::channel(MESSAGES_AHEAD);
    let mut sender = Sender { messages, runtime: Handle::current(), message: M::default(), bytes: 0 };
    let started = desk.start_trace(move |tracer| {
        let ran = run(tracer, &mut sender);
        // Nobody is left to be told when the client has gone.
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

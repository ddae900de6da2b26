//! Activity of a connection: the number of requests under way, and the time of the last sign of life.
//!
//! ```text
//! opening --opened()--> open --begin()--> asked          stages; the way back does not exist
//! ```
//!
//! The protocol of a connection reports its activity, with two atomic additions per request. [`accept`](super::accept)
//! ends connections that were silent for too long, and [`places`](super::places) chooses by activity which connection
//! makes room. Received bytes do not count: a request that arrives byte by byte is no request yet.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Instant,
};

use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::Notify;

/// Stage of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its handshake is not finished.
    Opening,
    /// No request was under way yet.
    Open,
    /// At least one request was read.
    Asked,
}

/// Activity of one connection. Clones share it.
#[derive(Clone, Debug)]
pub struct Activity(Arc<Signs>);

#[derive(Debug)]
struct Signs {
    /// Zero of the milliseconds.
    epoch: Instant,
    sign_ms: AtomicU64,
    under_way: AtomicUsize,
    stage: AtomicU8,
    /// The connection is to end at once, since another one needs its place.
    evicted: Notify,
    /// The connection is to end when nothing is under way.
    closing: Notify,
}

impl Activity {
    /// Activity of a connection that was just accepted. Times count from `epoch`.
    pub(super) fn new(epoch: Instant) -> Self {
        let activity = Self(Arc::new(Signs {
            epoch,
            sign_ms: AtomicU64::default(),
            under_way: AtomicUsize::default(),
            stage: AtomicU8::new(Stage::Opening as u8),
            evicted: Notify::new(),
            closing: Notify::new(),
        }));
        activity.sign();
        activity
    }

    /// Notes that the connection's handshake is finished.
    pub fn opened(&self) {
        self.sign();
        self.0.stage.fetch_max(Stage::Open as u8, Ordering::Relaxed);
    }

    /// Notes that a request was read; the request is under way until the returned guard is dropped.
    pub fn begin(&self) -> UnderWay {
        self.0.under_way.fetch_add(1, Ordering::Relaxed);
        self.0.stage.fetch_max(Stage::Asked as u8, Ordering::Relaxed);
        UnderWay(self.clone())
    }

    /// Notes a sign of life: a part of a response was sent.
    pub fn sign(&self) {
        self.0.sign_ms.store(self.0.epoch.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Stage of the connection.
    pub fn stage(&self) -> Stage {
        match self.0.stage.load(Ordering::Relaxed) {
            0 => Stage::Opening,
            1 => Stage::Open,
            _ => Stage::Asked,
        }
    }

    /// True while requests are under way.
    pub fn is_under_way(&self) -> bool {
        self.0.under_way.load(Ordering::Relaxed) > 0
    }

    /// Time of the last sign of life, in milliseconds since the epoch.
    pub(super) fn last_sign_ms(&self) -> u64 {
        self.0.sign_ms.load(Ordering::Relaxed)
    }

    /// Current time, in milliseconds since the epoch.
    pub(super) fn now_ms(&self) -> u64 {
        self.0.epoch.elapsed().as_millis() as u64
    }

    /// Tells the connection to end at once.
    pub(super) fn evict(&self) {
        self.0.evicted.notify_one();
    }

    /// Waits until the connection is told to end at once. Only one task may wait.
    pub(super) async fn evicted(&self) {
        self.0.evicted.notified().await;
    }

    /// Tells the connection to end when nothing is under way.
    pub(super) fn close(&self) {
        self.0.closing.notify_one();
    }

    /// Waits until the connection is told to end when nothing is under way. Only one task may wait.
    pub async fn closing(&self) {
        self.0.closing.notified().await;
    }
}

/// Guard of a request, which is under way until the guard is dropped.
#[derive(Debug)]
pub struct UnderWay(Activity);

impl UnderWay {
    /// Notes that a part of the response was sent.
    pub fn sign(&self) {
        self.0.sign();
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        // In this order: else a connection whose last request just ended would look silent since before that request.
        self.0.sign();
        self.0.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A response body; its request is under way until the body is dropped.
#[derive(Debug)]
pub struct Attended<B> {
    body: B,
    under_way: UnderWay,
}

impl<B> Attended<B> {
    /// Body of the response to the request of `under_way`.
    pub fn new(body: B, under_way: UnderWay) -> Self {
        Self { body, under_way }
    }
}

impl<B: Body + Unpin> Body for Attended<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.under_way.sign();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_and_requests() {
        let activity = Activity::new(Instant::now());
        assert_eq!((activity.stage(), activity.is_under_way()), (Stage::Opening, false));
        activity.opened();
        assert_eq!(activity.stage(), Stage::Open);
        let requests = [activity.begin(), activity.begin()];
        activity.opened();
        assert_eq!((activity.stage(), activity.is_under_way()), (Stage::Asked, true));
        for request in requests {
            assert!(activity.is_under_way());
            drop(request);
        }
        assert_eq!((activity.stage(), activity.is_under_way()), (Stage::Asked, false));
    }
}

//! The floor: a tonic server whose calls do nothing and reply with a given number of bytes.

use std::{convert::Infallible, future::Ready, task};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::{Grpc, NamedService, StreamingService, UnaryService},
    transport::{Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;
use touchmark::protocol::grpc::pb;

use crate::Outcome;

/// An `Answer` or a `ResolveBatchResponse` of given bytes: both have a length-delimited field 1.
#[derive(Clone, prost::Message)]
pub struct Reply {
    #[prost(bytes = "bytes", tag = "1")]
    pub bytes: Bytes,
}

#[derive(Clone)]
struct Floor {
    reply: Reply,
}

impl NamedService for Floor {
    const NAME: &'static str = "touchmark.v1.Resolver";
}

struct Empty(Reply);

impl<T> UnaryService<T> for Empty {
    type Response = Reply;
    type Future = Ready<Result<Response<Reply>, Status>>;

    fn call(&mut self, _: Request<T>) -> Self::Future {
        std::future::ready(Ok(Response::new(self.0.clone())))
    }
}

impl StreamingService<pb::ResolveRequest> for Empty {
    type Response = Reply;
    type ResponseStream = std::pin::Pin<Box<dyn Stream<Item = Result<Reply, Status>> + Send>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<pb::ResolveRequest>>) -> Self::Future {
        let reply = self.0.clone();
        let replies = request.into_inner().map(move |item| item.map(|_| reply.clone()));
        std::future::ready(Ok(Response::new(Box::pin(replies))))
    }
}

impl Service<http::Request<Body>> for Floor {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), Infallible>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let empty = Empty(self.reply.clone());
        Box::pin(async move {
            let response = match request.uri().path().rsplit('/').next() {
                Some("ResolveStream") => Grpc::new(ProstCodec::default()).streaming(empty, request).await,
                Some("ResolveBatch") => {
                    let codec = ProstCodec::<Reply, pb::ResolveBatchRequest>::default();
                    Grpc::new(codec).unary(empty, request).await
                }
                _ => {
                    let codec = ProstCodec::<Reply, pb::ResolveRequest>::default();
                    Grpc::new(codec).unary(empty, request).await
                }
            };
            Ok(response)
        })
    }
}

/// Serves until it is killed; prints its address first.
pub async fn serve(reply_bytes: usize) -> Outcome<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let floor = Floor { reply: Reply { bytes: unknown_field(reply_bytes).into() } };
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Server::builder().add_service(floor).serve_with_incoming(incoming).await?;
    Ok(())
}

/// `len` bytes that every client accepts as a message: one unknown field.
fn unknown_field(len: usize) -> Vec<u8> {
    const TAG: u32 = 15;
    let mut bytes = Vec::with_capacity(len);
    prost::encoding::encode_key(TAG, prost::encoding::WireType::LengthDelimited, &mut bytes);
    let content = (1..=5)
        .map(|length_len| len.saturating_sub(1 + length_len))
        .find(|&content| prost::encoding::encoded_len_varint(content as u64) + 1 + content == len);
    prost::encoding::encode_varint(content.unwrap_or(0) as u64, &mut bytes);
    bytes.resize(len, 0);
    bytes
}

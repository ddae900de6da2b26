//! Decoding of requests: as in the library, but for the status of bytes that are no message.
//!
//! The library answers such bytes with INTERNAL, as if the node had failed. The fault is the client's:
//! INVALID_ARGUMENT, with the field that could not be read.

use std::marker::PhantomData;

use prost::Message;
use tonic::{
    Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder},
};
use tonic_prost::ProstCodec;

/// The codec of the generated services (`proto/build.rs`).
#[derive(Debug)]
pub struct RequestCodec<T, U>(PhantomData<(T, U)>);

/// Decoder of requests.
#[derive(Debug)]
pub struct RequestDecoder<D>(D);

impl<T, U> Default for RequestCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for RequestCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = <ProstCodec<T, U> as Codec>::Encoder;
    type Decoder = RequestDecoder<<ProstCodec<T, U> as Codec>::Decoder>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::default().encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        RequestDecoder(ProstCodec::<T, U>::default().decoder())
    }
}

impl<D: Decoder<Error = Status>> Decoder for RequestDecoder<D> {
    type Item = D::Item;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<D::Item>, Status> {
        let decoded = self.0.decode(buffer);
        decoded.map_err(|error| Status::invalid_argument(format!("the request cannot be read: {}", error.message())))
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}

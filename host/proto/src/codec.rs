//! How messages are encoded: as everywhere, but with small buffers.
//!
//! The library's own begin with 8 KiB in each direction of each call. A message
//! of the lock API has some 100 bytes, and tens of thousands of streams may be
//! open with nothing to say.

use prost::Message;
use std::marker::PhantomData;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// With how many bytes a buffer begins. It grows with what is in it.
const BUFFER_BYTES: usize = 1024;

/// How many bytes of messages that are ready are sent in one piece at most.
const BATCH_BYTES: usize = 32 * 1024;

/// Encodes `E` and decodes `D`.
#[derive(Clone, Copy, Debug)]
pub struct SmallCodec<E, D>(PhantomData<(E, D)>);

impl<E, D> Default for SmallCodec<E, D> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<E, D> Codec for SmallCodec<E, D>
where
    E: Message + Send + 'static,
    D: Message + Default + Send + 'static,
{
    type Encode = E;
    type Decode = D;
    type Encoder = ProstEncoder<E>;
    type Decoder = ProstDecoder<D>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<E, D>::raw_encoder(BufferSettings::new(BUFFER_BYTES, BATCH_BYTES))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<E, D>::raw_decoder(BufferSettings::new(BUFFER_BYTES, BATCH_BYTES))
    }
}

//! Tests of taking a body in.

use super::*;
use futures_util::FutureExt;
use std::collections::VecDeque;

/// A body of chunks; one that is `None` has not come yet.
struct Source {
    chunks: VecDeque<Option<&'static [u8]>>,
    announced: Option<u64>,
    breaks: bool,
}

impl Source {
    fn new(chunks: &[Option<&'static [u8]>]) -> Self {
        Self {
            chunks: chunks.iter().copied().collect(),
            announced: None,
            breaks: false,
        }
    }
}

impl Body for Source {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        match self.chunks.pop_front() {
            Some(Some(chunk)) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(chunk))))),
            Some(None) => {
                // The next poll finds more.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None if self.breaks => {
                let error = std::io::Error::other("reset");
                Poll::Ready(Some(Err(error)))
            }
            None => Poll::Ready(None),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.announced
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Reads a body to its end while its pump is driven.
async fn read(source: Source, limit: u64) -> Result<Bytes, IntakeError> {
    let mut intake = Intake::begin(source, limit, Reads::Once).await?;
    let body = intake.body().unwrap();
    let pump = &mut intake.pump;
    let collected = Pump::alongside(pump, body.collect()).await?;
    Ok(collected.unwrap().to_bytes())
}

/// Begins to take in a body of any size.
async fn begin(source: Source, reads: Reads) -> Intake<Source> {
    Intake::begin(source, u64::MAX, reads).await.unwrap()
}

#[tokio::test]
async fn a_body_that_is_there_needs_no_pump() {
    let begin = async |chunks: &[_]| {
        let intake = Intake::begin(Source::new(chunks), 3, Reads::Once).await;
        let intake = intake.unwrap();
        assert!(intake.pump.is_none());
        intake.body().unwrap()
    };
    let one = begin(&[Some(b"abc")]).await;
    assert_eq!(one.size_hint().exact(), Some(3));
    let many = begin(&[Some(b"a"), Some(b"b")]).await;
    assert_eq!(many.size_hint().exact(), Some(2));
    assert_eq!(many.collect().await.unwrap().to_bytes(), "ab");
    assert!(begin(&[]).await.is_end_stream());
}

#[tokio::test]
async fn a_body_that_comes_in_parts_arrives_whole() {
    let source = Source::new(&[None, Some(b"ab"), None, Some(b"cd"), None]);
    assert_eq!(read(source, 4).await.unwrap(), "abcd");
}

#[tokio::test]
async fn a_body_that_announces_too_much_is_refused_unread() {
    let mut source = Source::new(&[None, Some(b"abcde")]);
    source.announced = Some(5);
    let refused = Intake::begin(source, 4, Reads::Once)
        .now_or_never()
        .unwrap();
    assert!(matches!(
        refused.err(),
        Some(IntakeError::TooLarge { limit: 4 })
    ));
}

#[tokio::test]
async fn a_body_that_turns_out_too_large_ends_the_work() {
    let source = Source::new(&[None, Some(b"abc"), None, Some(b"de")]);
    let refused = read(source, 4).await.unwrap_err();
    assert!(matches!(refused, IntakeError::TooLarge { limit: 4 }));
    let at_once = Source::new(&[Some(b"abcde")]);
    assert!(matches!(
        read(at_once, 4).await,
        Err(IntakeError::TooLarge { .. })
    ));
}

#[tokio::test]
async fn a_body_that_breaks_off_ends_the_work() {
    let mut source = Source::new(&[None, Some(b"abc"), None]);
    source.breaks = true;
    let broken = read(source, 9).await.unwrap_err();
    assert_eq!(broken.to_string(), "the request's body broke off: reset");
}

#[tokio::test]
async fn the_pump_reads_ahead_of_the_handler_and_no_further_than_the_buffer() {
    const CHUNK: &[u8] = &[0; BUFFER_BYTES / 2];
    let source = Source::new(&[None, Some(CHUNK), Some(CHUNK), Some(CHUNK), Some(b"end")]);
    let intake = begin(source, Reads::Once).await;
    let (mut body, mut pump) = (intake.body().unwrap(), intake.pump);
    let mut idle = Box::pin(Pump::alongside(&mut pump, std::future::pending::<()>()));
    assert!((&mut idle).now_or_never().is_none());
    drop(idle);
    let pump = pump.as_mut().unwrap();
    assert_eq!(pump.taken, BUFFER_BYTES as u64, "the buffer is full");

    body.frame().await.unwrap().unwrap();
    std::future::poll_fn(|cx| Poll::Ready(pump.poll(cx).is_ready())).await;
    assert_eq!(
        pump.taken,
        (BUFFER_BYTES / 2 * 3) as u64,
        "there is room again"
    );
}

#[tokio::test]
async fn what_comes_in_many_short_chunks_is_kept_in_few() {
    const COUNT: usize = 4 * JOINED_BYTES;
    let mut source = Source::new(&[None]);
    source.chunks.extend(vec![Some(b"x" as &[u8]); COUNT]);
    let intake = begin(source, Reads::Once).await;
    let (body, mut pump) = (intake.body().unwrap(), intake.pump.unwrap());
    std::future::poll_fn(|cx| pump.poll(cx)).await.unwrap();
    {
        let state = pump.shared.lock();
        assert_eq!((state.buffered, state.chunks.len()), (COUNT, 4));
    }
    assert_eq!(body.collect().await.unwrap().to_bytes().len(), COUNT);
}

#[tokio::test]
async fn short_and_long_chunks_keep_their_order() {
    const LONG: &[u8] = &[b'-'; SHORT_BYTES];
    let chunks = [b"a", b"b", LONG, b"c", LONG, LONG, b"d"];
    let mut source = Source::new(&[None]);
    source.chunks.extend(chunks.map(Some));
    assert_eq!(read(source, u64::MAX).await.unwrap(), chunks.concat());
}

#[tokio::test]
async fn what_nobody_reads_is_taken_in_all_the_same() {
    // Only so is it seen whether the client is still there.
    const CHUNK: &[u8] = &[0; BUFFER_BYTES];
    for reads in [Reads::Once, Reads::Again] {
        let source = Source::new(&[None, Some(CHUNK), Some(CHUNK), Some(CHUNK)]);
        let intake = begin(source, reads).await;
        drop(intake.body());
        let mut pump = intake.pump.unwrap();
        let ended = std::future::poll_fn(|cx| pump.poll(cx)).await;
        assert!(ended.is_ok());
        assert_eq!(pump.taken, 3 * BUFFER_BYTES as u64);
        assert_eq!(pump.shared.lock().buffered, 0, "nothing is kept of it");
    }
}

#[tokio::test]
async fn a_reader_that_is_left_behind_is_told() {
    let source = Source::new(&[None, None, Some(b"abc")]);
    let intake = begin(source, Reads::Once).await;
    let body = intake.body().unwrap();
    drop(intake.pump);
    // Without being told it would wait for ever.
    let read = body.collect().now_or_never().expect("it is told");
    assert_eq!(
        read.unwrap_err().to_string(),
        "the request's body broke off: the request is over"
    );
}

#[tokio::test]
async fn a_body_is_read_again_from_its_beginning_wherever_it_was_left() {
    const LONG: &[u8] = &[b'-'; SHORT_BYTES];
    let chunks = [b"a", LONG, b"b", LONG, b"c"];
    let whole = chunks.concat();
    for came_at_once in [true, false] {
        for read_before in 0..4 {
            let mut source = Source::new(&[]);
            source.chunks.extend(chunks.map(Some));
            if !came_at_once {
                source.chunks.push_front(None);
            }
            let mut intake = begin(source, Reads::Again).await;
            let mut first = intake.body().unwrap();
            let reading = async {
                for _ in 0..read_before {
                    first.frame().await.unwrap().unwrap();
                }
            };
            Pump::alongside(&mut intake.pump, reading).await.unwrap();
            let again = intake.body().unwrap();
            // The one before is not gone yet, and reads nothing any more.
            let left_behind = first.frame().await.unwrap();
            assert!(left_behind.is_err());
            drop(first);
            let collected = Pump::alongside(&mut intake.pump, again.collect()).await;
            assert_eq!(collected.unwrap().unwrap().to_bytes(), whole);
            assert!(intake.body().is_some(), "and a third time");
        }
    }
    let one = begin(Source::new(&[Some(b"abc")]), Reads::Again).await;
    for _ in 0..2 {
        let body = one.body().unwrap();
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abc");
    }
}

#[tokio::test]
async fn a_body_is_read_again_up_to_a_size_only() {
    const HALF: &[u8] = &[0; AGAIN_BYTES / 2];
    for (more, again) in [(&b""[..], true), (&b"x"[..], false)] {
        let source = Source::new(&[None, Some(HALF), None, Some(HALF), None, Some(more)]);
        let mut intake = begin(source, Reads::Again).await;
        let body = intake.body().unwrap();
        let read = Pump::alongside(&mut intake.pump, body.collect()).await;
        let bytes = read.unwrap().unwrap().to_bytes().len();
        assert_eq!(bytes, AGAIN_BYTES + more.len());
        assert_eq!(intake.body().is_some(), again);
    }
    let source = Source::new(&[None, Some(b"abc")]);
    let mut once = begin(source, Reads::Once).await;
    let body = once.body().unwrap();
    let read = Pump::alongside(&mut once.pump, body.collect()).await;
    assert_eq!(read.unwrap().unwrap().to_bytes(), "abc");
    assert!(once.body().is_none());
}

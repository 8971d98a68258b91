//! Servers that do not answer, or not as they should.

use super::*;

#[tokio::test]
async fn a_server_that_never_answers_is_left_at_the_deadline() {
    let server = Server::start(|mut stream| async move {
        head(&mut stream).await;
        assert!(stream.read_u8().await.is_err());
    })
    .await;
    let bench = Bench::new(&[&server.url()]);
    let soon = Duration::from_millis(20);
    let refused = bench.send_until(get(&server.url()), soon).await;
    assert_eq!(refused.unwrap_err(), CallRefused::Fault(Fault::Deadline));
    assert_eq!(bench.metrics.count(OutboundOutcome::Timeout), 1);
    bench.closed().await;
}

#[tokio::test]
async fn an_answer_that_stops_ends_at_the_deadline_whether_it_is_read_or_not() {
    let server = Server::start(|mut stream| async move {
        head(&mut stream).await;
        let half = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
        stream.write_all(half.as_bytes()).await.unwrap();
        assert!(stream.read_u8().await.is_err());
    })
    .await;
    let bench = Bench::new(&[&server.url()]);
    let soon = Duration::from_millis(200);
    let read = bench.send_until(get(&server.url()), soon).await.unwrap();
    let kept = bench.send_until(get(&server.url()), soon).await.unwrap();
    let cut = read.into_body().collect().await.unwrap_err();
    assert!(cut.is::<Fault>(), "{cut}");
    bench.closed().await;
    drop(kept);
}

#[tokio::test]
async fn an_answer_without_an_end_is_cut_at_its_limit() {
    let server = Server::start(|mut stream| async move {
        head(&mut stream).await;
        let begin = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(begin.as_bytes()).await.unwrap();
        let chunk = format!("{:x}\r\n{}\r\n", 4096, "x".repeat(4096));
        while stream.write_all(chunk.as_bytes()).await.is_ok() {}
    })
    .await;
    let limit = |it: &mut Limits| it.body = 1 << 20;
    let bench = Bench::with(&[&server.url()], limit, World::of(Vec::new()));
    let response = bench.send(get(&server.url())).await.unwrap();
    let mut body = response.into_body();
    let mut read = 0;
    let error = loop {
        match body.frame().await.unwrap() {
            Ok(frame) => read += frame.data_ref().map_or(0, Bytes::len),
            Err(error) => break error,
        }
    };
    let expected = Fault::BodyTooLarge { limit: 1 << 20 };
    assert_eq!(error.downcast_ref(), Some(&expected));
    assert!(read <= 1 << 20, "{read}");
    bench.closed().await;
}

#[tokio::test]
async fn an_answer_that_says_it_is_too_large_is_not_read() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 1099511627776\r\n\r\n";
    let server = Server::saying(answer).await;
    let bench = Bench::new(&[&server.url()]);
    let limit = Limits::default().body;
    let fault = bench.fault(&server.url()).await;
    assert_eq!(fault, Fault::BodyTooLarge { limit });
    bench.closed().await;
}

#[tokio::test]
async fn what_is_not_asked_for_stays_with_the_server() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let server = Server::start(move |mut stream| {
        let count = count.clone();
        async move {
            head(&mut stream).await;
            let begin = "HTTP/1.1 200 OK\r\ncontent-length: 30000000\r\n\r\n";
            stream.write_all(begin.as_bytes()).await.unwrap();
            while stream.write_all(&[b'x'; 10_000]).await.is_ok() {
                count.fetch_add(10_000, Ordering::SeqCst);
            }
        }
    })
    .await;
    let bench = Bench::new(&[&server.url()]);
    let response = bench.send(get(&server.url())).await.unwrap();
    // It writes until the system's buffers are full, and is not heard any more.
    let mut before = usize::MAX;
    while sent.load(Ordering::SeqCst) != before {
        before = sent.load(Ordering::SeqCst);
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
    }
    assert!(before < 30_000_000, "all of it was taken in");
    drop(response);
    bench.closed().await;
}

#[tokio::test]
async fn what_is_no_http_is_told_as_that() {
    let big = "a".repeat(20_000);
    let many = "a: b\r\n".repeat(200);
    for (answer, expected) in [
        ("garbage\r\n\r\n", Fault::Protocol),
        ("HTTP/1.1 999999 x\r\n\r\n", Fault::Protocol),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            Fault::Protocol,
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
            Fault::Protocol,
        ),
        (
            &format!("HTTP/1.1 200 OK\r\na: {big}\r\n\r\n"),
            Fault::HeadTooLarge { limit: 16 << 10 },
        ),
        (
            &format!("HTTP/1.1 200 OK\r\n{many}\r\n"),
            Fault::HeadTooLarge { limit: 16 << 10 },
        ),
    ] {
        let server = Server::saying(answer).await;
        let bench = Bench::new(&[&server.url()]);
        let fault = bench.fault(&server.url()).await;
        assert_eq!(fault, expected, "{:.40}", answer);
        bench.closed().await;
    }
}

#[tokio::test]
async fn a_server_that_goes_in_the_middle_is_told_as_that() {
    for (answer, expected) in [("", Fault::Incomplete), ("HTTP/1.1 20", Fault::Incomplete)] {
        let server = Server::start(move |mut stream| async move {
            head(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let bench = Bench::new(&[&server.url()]);
        assert_eq!(bench.fault(&server.url()).await, expected, "{answer}");
    }
    for half in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhalf\r\n",
    ] {
        let server = Server::start(move |mut stream| async move {
            head(&mut stream).await;
            stream.write_all(half.as_bytes()).await.unwrap();
        })
        .await;
        let bench = Bench::new(&[&server.url()]);
        let response = bench.send(get(&server.url())).await.unwrap();
        let cut = response.into_body().collect().await.unwrap_err();
        assert!(cut.is::<Fault>(), "{half}: {cut}");
        bench.closed().await;
    }
}

#[tokio::test]
async fn a_server_that_does_not_listen_is_told_as_that() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let bench = Bench::new(&[&url]);
    assert_eq!(bench.fault(&url).await, Fault::Refused);
    assert_eq!(bench.metrics.count(OutboundOutcome::Connect), 1);
    bench.closed().await;
}

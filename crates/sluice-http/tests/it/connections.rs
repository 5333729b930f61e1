//! Slow clients, many clients, and the end of the server.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{exchange, get, post, post_with, read, read_to_end, send};
use crate::fakes::Mood;
use crate::rig::{Setup, job, start, start_with};

const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_client_that_is_slow_with_its_headers_is_cut_off() {
    let rig = start_with(Setup::limited(|it| {
        it.header_timeout = SHORT;
        it.max_connections = 2;
    }))
    .await;
    // One drips a byte at a time, one says nothing; together they hold every place.
    let mut drip = TcpStream::connect(rig.addr).await.unwrap();
    let mut silent = TcpStream::connect(rig.addr).await.unwrap();
    drip.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n").await.unwrap();
    let mut sent = 0;
    while drip.write_all(b"X: y\r\n").await.is_ok() {
        sent += 1;
        assert!(sent < 200, "still read after {sent} headers");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    read_to_end(&mut silent).await;
    assert_eq!(get(rig.addr, "/health").await.status, 200);
}

#[tokio::test]
async fn a_kept_connection_without_a_request_is_closed() {
    let rig = start_with(Setup::limited(|it| it.header_timeout = SHORT)).await;
    let mut stream = TcpStream::connect(rig.addr).await.unwrap();
    stream
        .write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let text = String::from_utf8(read_to_end(&mut stream).await).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2, "{text}");
}

#[tokio::test]
async fn a_client_that_is_slow_with_its_body_is_told_so() {
    let rig = start_with(Setup::limited(|it| it.body_timeout = SHORT)).await;
    let answer = exchange(rig.addr, b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{").await;
    assert_eq!((answer.status, answer.code().as_str()), (408, "too_slow"));
}

#[tokio::test]
async fn a_chunked_body_is_read_within_the_same_bounds() {
    let rig = start_with(Setup::limited(|it| it.body_max_bytes = 1_000)).await;
    let chunked = |body: &str| {
        let head =
            "POST /jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
        let chunks: String = body
            .as_bytes()
            .chunks(100)
            .map(|it| format!("{:x}\r\n{}\r\n", it.len(), String::from_utf8_lossy(it)))
            .collect();
        format!("{head}{chunks}0\r\n\r\n")
    };
    assert_eq!(exchange(rig.addr, chunked(&job("a").to_string()).as_bytes()).await.status, 202);
    let answer = exchange(rig.addr, chunked(&" ".repeat(1_001)).as_bytes()).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_large"));
}

#[tokio::test]
async fn a_client_that_asks_first_need_not_send_what_is_too_large() {
    let rig = start_with(Setup::limited(|it| it.body_max_bytes = 1_000)).await;
    let answer = exchange(
        rig.addr,
        b"POST /jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 5000\r\n\r\n",
    )
    .await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_large"));
}

#[tokio::test]
async fn all_bodies_together_have_a_bound() {
    let rig = start_with(Setup::limited(|it| {
        it.body_max_bytes = 1_000;
        it.bodies_max_bytes = 1_500;
    }))
    .await;
    // One holds 900 bytes of the bound and does not end.
    let mut slow = TcpStream::connect(rig.addr).await.unwrap();
    let head = "POST /jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 950\r\n\r\n";
    slow.write_all(format!("{head}{}", " ".repeat(900)).as_bytes()).await.unwrap();
    let padded = format!("{}{}", job("a"), " ".repeat(700));
    let mut answer = post(rig.addr, &padded).await;
    for _ in 0..100 {
        if answer.status == 503 {
            break;
        }
        answer = post(rig.addr, &padded).await;
    }
    assert_eq!((answer.status, answer.code().as_str()), (503, "busy"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    // It ends, and there is room again.
    slow.write_all(" ".repeat(50).as_bytes()).await.unwrap();
    assert_eq!(read(&mut slow).await.status, 400);
    assert_eq!(post(rig.addr, &padded).await.status, 202);
}

#[tokio::test]
async fn bodies_of_webhooks_leave_room_for_jobs() {
    let rig = start_with(Setup::limited(|it| {
        it.body_max_bytes = 1_000;
        it.bodies_max_bytes = 4_000;
    }))
    .await;
    let mut slow = TcpStream::connect(rig.addr).await.unwrap();
    let head =
        "POST /webhooks/sandbox HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 950\r\n\r\n";
    slow.write_all(format!("{head}{}", " ".repeat(900)).as_bytes()).await.unwrap();
    let (json, events) = (&["Content-Type: application/json"], "x".repeat(700));
    let mut answer = send(rig.addr, "POST", "/webhooks/sandbox", json, &events).await;
    for _ in 0..100 {
        if answer.status == 503 {
            break;
        }
        answer = send(rig.addr, "POST", "/webhooks/sandbox", json, &events).await;
    }
    assert_eq!((answer.status, answer.code().as_str()), (503, "busy"));
    assert_eq!(post(rig.addr, format!("{}{}", job("a"), " ".repeat(700))).await.status, 202);
    slow.write_all(" ".repeat(50).as_bytes()).await.unwrap();
    assert_eq!(read(&mut slow).await.status, 200);
    assert_eq!(send(rig.addr, "POST", "/webhooks/sandbox", json, &events).await.status, 200);
}

#[tokio::test]
async fn an_answer_comes_even_if_the_store_hangs() {
    let rig = start_with(Setup::limited(|it| it.request_timeout = SHORT)).await;
    rig.console.mood.set(Mood::Hangs);
    let answer = get(rig.addr, "/jobs/known").await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "timeout"));
    let answer = post_with(rig.addr, &[], job("a").to_string()).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "timeout"));
}

#[tokio::test]
async fn a_client_that_reads_no_answers_does_not_hold_its_connection() {
    let rig = start_with(Setup::limited(|it| {
        it.connection_age = SHORT;
        it.request_timeout = SHORT;
    }))
    .await;
    let mut deaf = TcpStream::connect(rig.addr).await.unwrap();
    // Answers pile up until the server can neither write nor, having a bound, read on; then only its age ends it.
    let many = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1_000);
    let write = async { while deaf.write_all(many.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(6), write).await.expect("the server held the connection");
}

#[tokio::test]
async fn who_comes_when_all_places_are_taken_waits_for_one() {
    let rig = start_with(Setup::limited(|it| it.max_connections = 1)).await;
    let mut first = TcpStream::connect(rig.addr).await.unwrap();
    first.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut byte = [0];
    first.read_exact(&mut byte).await.unwrap();
    let mut second = Box::pin(get(rig.addr, "/health"));
    assert!(tokio::time::timeout(SHORT, &mut second).await.is_err(), "answered beside the first");
    drop(first);
    assert_eq!(second.await.status, 200);
}

#[tokio::test]
async fn the_port_is_taken_before_anything_is_served_and_free_afterwards() {
    let rig = start().await;
    let addr = rig.addr;
    assert!(std::net::TcpListener::bind(addr).is_err());
    rig.stop().await;
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_stop_waits_for_requests_and_not_for_idle_clients() {
    let rig = start().await;
    let addr = rig.addr;
    let mut idle = TcpStream::connect(addr).await.unwrap();
    let mut partial = TcpStream::connect(addr).await.unwrap();
    partial.write_all(b"GET /hea").await.unwrap();
    // This request is in work: half of its body is there.
    let body = job("a").to_string();
    let (first, rest) = body.split_at(20);
    let mut busy = TcpStream::connect(addr).await.unwrap();
    let head = format!(
        "POST /jobs HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    busy.write_all(head.as_bytes()).await.unwrap();
    let mut go = [0; 25];
    busy.read_exact(&mut go).await.unwrap();
    assert_eq!(&go, b"HTTP/1.1 100 Continue\r\n\r\n");
    busy.write_all(first.as_bytes()).await.unwrap();

    let outbox = rig.outbox.clone();
    rig.stop.cancel();
    let mut stopping = Box::pin(rig.stop());
    assert!(tokio::time::timeout(SHORT, &mut stopping).await.is_err(), "did not wait for the request");
    assert!(TcpStream::connect(addr).await.is_err(), "takes new connections while it stops");
    busy.write_all(rest.as_bytes()).await.unwrap();
    let answer = read(&mut busy).await;
    assert_eq!((answer.status, answer.header("connection")), (202, Some("close")));
    assert_eq!(outbox.bodies().len(), 1);
    assert!(stopping.await < Duration::from_secs(4));
    read_to_end(&mut idle).await;
    read_to_end(&mut partial).await;
}

#[tokio::test]
async fn a_stop_cuts_what_does_not_end() {
    let rig = start_with(Setup::limited(|it| it.drain_timeout = SHORT)).await;
    rig.console.mood.set(Mood::Hangs);
    let mut stuck = TcpStream::connect(rig.addr).await.unwrap();
    stuck.write_all(b"GET /jobs/known HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    // Its turn has come once another has been answered.
    assert_eq!(get(rig.addr, "/health").await.status, 200);
    let took = rig.stop().await;
    assert!(took >= SHORT && took < Duration::from_secs(4), "{took:?}");
    assert!(read_to_end(&mut stuck).await.is_empty());
}

//! The proxy passes bytes, and breaks the line in each way it promises.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use sluice_testkit::services::TcpProxy;

/// A server that sends back what it gets, on threads of its own.
fn echo() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let addr = listener.local_addr().expect("a bound socket has an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut reads = stream.try_clone().expect("a socket can be cloned");
                std::io::copy(&mut reads, &mut &stream).ok();
            });
        }
    });
    addr
}

fn connect(proxy: &TcpProxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.addr()).expect("the proxy listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout can be set");
    stream
}

/// What comes back for a ping, or why nothing does.
fn ping(stream: &mut TcpStream) -> Result<(), ErrorKind> {
    stream.write_all(b"ping").map_err(|error| error.kind())?;
    let mut back = [0; 4];
    stream.read_exact(&mut back).map_err(|error| error.kind())?;
    assert_eq!(&back, b"ping");
    Ok(())
}

#[test]
fn bytes_pass_and_a_half_close_passes_too() {
    let proxy = TcpProxy::start(echo());
    let mut stream = connect(&proxy);
    ping(&mut stream).unwrap();
    stream.write_all(&[7; 300_000]).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    assert_eq!(back.len(), 300_000);
}

#[test]
fn a_cut_drops_what_is_open_and_welcomes_what_comes() {
    let proxy = TcpProxy::start(echo());
    let mut stream = connect(&proxy);
    ping(&mut stream).unwrap();
    proxy.cut();
    let mut rest = [0; 1];
    assert!(matches!(stream.read(&mut rest), Ok(0) | Err(_)));
    ping(&mut connect(&proxy)).unwrap();
}

#[test]
fn a_black_hole_takes_bytes_and_gives_them_back_afterwards() {
    let proxy = TcpProxy::start(echo());
    let mut before = connect(&proxy);
    ping(&mut before).unwrap();
    proxy.black_hole(true);
    let mut during = connect(&proxy);
    for stream in [&mut before, &mut during] {
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(matches!(ping(stream), Err(ErrorKind::WouldBlock | ErrorKind::TimedOut)));
    }
    proxy.black_hole(false);
    for stream in [&mut before, &mut during] {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut back = [0; 4];
        stream.read_exact(&mut back).unwrap();
        ping(stream).unwrap();
    }
}

#[test]
fn a_delay_counts_in_each_direction_and_leaves_the_throughput() {
    let proxy = TcpProxy::start(echo());
    let mut stream = connect(&proxy);
    proxy.delay(Duration::from_millis(50));
    let begin = Instant::now();
    ping(&mut stream).unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(100));
    let begin = Instant::now();
    let mut writes = stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        for _ in 0..100 {
            writes.write_all(&[7; 1_000]).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    stream.read_exact(&mut vec![0; 100_000]).unwrap();
    writer.join().unwrap();
    // One after the other the hundred would take ten seconds.
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[test]
fn refusing_leaves_what_is_open() {
    let proxy = TcpProxy::start(echo());
    let mut stream = connect(&proxy);
    ping(&mut stream).unwrap();
    proxy.refuse(true);
    assert_eq!(TcpStream::connect(proxy.addr()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    ping(&mut stream).unwrap();
    proxy.refuse(false);
    ping(&mut connect(&proxy)).unwrap();
}

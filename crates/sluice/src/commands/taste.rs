//! `sluice taste`: decodes what a worker gives it on stdin, and may die of it. For workers, not for people.
//!
//! For each body, after its length in four bytes: the length of the job's id in one byte and that id, as soon as these are
//! known, and [`SURVIVED`] after it was decoded. What is told is kept while there is more to read: of many at once nobody asks for
//! which one it died of.

use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};

use anyhow::Context;
use sluice_types::Job;
use tokio::signal::unix::{SignalKind, signal};

/// The name of the command.
pub(crate) const COMMAND: &str = "taste";
/// The message was decoded, whatever came of it.
pub(crate) const SURVIVED: u8 = 1;

/// As much as a pipe holds.
const READ_BYTES: usize = 64 * 1024;
/// A little less than a worker's thread has left when it decodes: what would not fit there must not fit here.
const STACK_BYTES: usize = 2 * 1024 * 1024 - 128 * 1024;

/// Decodes until stdin ends, which is when the worker goes.
pub(crate) async fn run() -> anyhow::Result<bool> {
    // Who stops a group of processes stops the worker too, and that ends us. A message must not be blamed for it.
    let _unheard = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
    let tasting = std::thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(|| taste_all(io::stdin().lock(), io::stdout().lock()))
        .context("cannot start a thread")?;
    let joined = tokio::task::spawn_blocking(|| tasting.join()).await?;
    // A panic is a death too.
    let Ok(tasted) = joined else { return Ok(false) };
    tasted.context("the worker is gone")?;
    Ok(true)
}

fn taste_all(input: impl Read, output: impl Write) -> io::Result<()> {
    let mut input = BufReader::with_capacity(READ_BYTES, input);
    let mut output = BufWriter::new(output);
    let mut length = [0_u8; 4];
    loop {
        match input.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
        let mut body = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX)];
        input.read_exact(&mut body)?;
        let id = Job::peek_id(&body).unwrap_or_default();
        // An id has 128 bytes at most; a longer one would be told as none.
        let id = u8::try_from(id.len()).map_or("", |_| id.as_str());
        output.write_all(&[u8::try_from(id.len()).unwrap_or(0)])?;
        output.write_all(id.as_bytes())?;
        tell(&input, &mut output)?;
        if sluice_engine::rehearse(&body).is_err() {
            tracing::debug!("not a job, and harmless");
        }
        output.write_all(&[SURVIVED])?;
        tell(&input, &mut output)?;
    }
}

/// Passes on what is kept, unless there is more to read. Of a body that is on its way the rest comes whatever is told meanwhile.
fn tell<R>(input: &BufReader<R>, output: &mut impl Write) -> io::Result<()> {
    if input.buffer().is_empty() { output.flush() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_body_is_answered_with_its_id_whether_it_is_a_job_or_not() {
        let good = br#"{"v":1,"id":"a-1","from":{"email":"a@b.cc"},"to":{"email":"d@e.ff"},"subject":"s","text":"t"}"#;
        let mut input = Vec::new();
        for body in [&good[..], b"{\"id\":\"b\"}", b"no json", b""] {
            input.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
            input.extend(body);
        }
        let mut output = Vec::new();
        taste_all(input.as_slice(), &mut output).unwrap();
        assert_eq!(output, b"\x03a-1\x01\x01b\x01\x00\x01\x00\x01");
    }

    #[test]
    fn half_a_body_is_an_error() {
        assert!(taste_all(&b"\x00\x00\x00\x09half"[..], Vec::new()).is_err());
    }
}

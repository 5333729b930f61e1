//! Bytes that nearly are what a parser wants: good input, broken a little. They get further into a parser than random ones.

/// Pieces that parsers stumble over.
const PIECES: [&[u8]; 16] = [
    b"\r\n",
    b"\n.\r\n",
    b"\0",
    b"\"",
    b"\\",
    b"{",
    b"]",
    b",",
    b"-",
    b" ",
    b"\xff",
    b"\xc3",
    b"99999999999999999999",
    b"\\u0000",
    b"\xe2\x80\xae",
    b"null",
];
/// Longest that a repeated piece of the input gets.
const REPEATED_MAX_BYTES: usize = 4096;

/// `good` with one to eight breaks, the same for the same `seed`.
#[must_use]
pub fn mutated(good: &[u8], seed: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut bytes = good.to_vec();
    for _ in 0..rng.usize(1..=8) {
        let at = rng.usize(0..=bytes.len());
        let end = (at + rng.usize(0..=16)).min(bytes.len());
        match rng.u8(0..6) {
            0 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << rng.u8(0..8);
                }
            }
            1 => drop(bytes.drain(at..end)),
            2 => bytes.truncate(at),
            3 => {
                let piece: Vec<u8> = bytes.get(at..end).unwrap_or_default().to_vec();
                let times = rng.usize(1..=64).min(REPEATED_MAX_BYTES / piece.len().max(1));
                drop(bytes.splice(at..at, piece.repeat(times)));
            }
            _ => {
                let piece = PIECES.get(rng.usize(0..PIECES.len())).copied().unwrap_or_default();
                drop(bytes.splice(at..at, piece.iter().copied()));
            }
        }
    }
    bytes
}

//! A certificate and its key: two files that go together.

use std::path::PathBuf;

use crate::reader::Section;

/// The keys of the two files.
const CERT: &str = "tls_cert_file";
const KEY: &str = "tls_key_file";

/// Reads `tls_cert_file` and `tls_key_file`; one without the other is a fault.
pub(crate) fn read(section: &mut Section<'_, '_>) -> (Option<PathBuf>, Option<PathBuf>) {
    let (certificate, key) = (section.path(CERT), section.path(KEY));
    match (&certificate, &key) {
        (Some(_), None) => section.fault(KEY, "is missing: a certificate goes with its key"),
        (None, Some(_)) => section.fault(CERT, "is missing: a key goes with its certificate"),
        (Some(_), Some(_)) | (None, None) => {}
    }
    (certificate, key)
}

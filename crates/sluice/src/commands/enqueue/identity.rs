//! From a document to the bytes that are published, with an id that its content gives where it has none.

use bytes::Bytes;
use sluice_types::{JobDocument, Refusal, RefusalReason};
use uuid::Uuid;

/// Namespace of derived ids (RFC 9562 section 5.5). It must never change: a file that is enqueued again after an update
/// of Sluice would be sent again.
const NAMESPACE: Uuid = Uuid::from_u128(0x8d0c_1f5e_3b7a_4e62_9a41_5c7f_20e6_b913);

/// The body of a job.
///
/// # Errors
/// When the document has a value that JSON cannot hold.
pub(super) fn body(mut document: JobDocument) -> Result<Bytes, Refusal> {
    if document.id.is_none() {
        let content = write(&document)?;
        document.id = Some(Uuid::new_v5(&NAMESPACE, &content).to_string());
    }
    write(&document).map(Bytes::from)
}

fn write(document: &JobDocument) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(document)
        .map_err(|_| Refusal::new(RefusalReason::InvalidValue, "", "cannot be written as JSON"))
}

#[cfg(test)]
mod tests {
    use sluice_types::MailboxDocument;

    use super::*;

    fn id_of(email: &str) -> String {
        let to = Some(MailboxDocument::new(email, None));
        let bytes = body(JobDocument { v: Some(1), to, ..JobDocument::default() }).unwrap();
        serde_json::from_slice::<JobDocument>(&bytes).unwrap().id.unwrap()
    }

    #[test]
    fn the_same_content_has_the_same_id_for_ever() {
        assert_eq!(id_of("ada@gmail.com"), id_of("ada@gmail.com"));
        assert_ne!(id_of("ada@gmail.com"), id_of("bob@gmail.com"));
        // Computed once and kept: a change would send files again that were sent before.
        assert_eq!(id_of("ada@gmail.com"), "eed4e4f9-9181-5805-91cb-9f3bcfcceaac");
    }
}

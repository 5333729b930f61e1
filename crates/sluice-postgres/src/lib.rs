//! All Postgres SQL, one function a statement; the migration runner; slot leases.

//! The ports Inbox, Ledger and SlotSource on one SQLite file.

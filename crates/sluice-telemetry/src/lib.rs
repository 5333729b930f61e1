//! Every metric name and log event, and the redaction of addresses.

//! The HTTP routes over engine handles: health, metrics, status, job intake.

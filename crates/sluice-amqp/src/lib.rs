//! RabbitMQ: topology, consuming, acks, publisher confirms, reconnecting, dead letters.

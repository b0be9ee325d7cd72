//! Logging: one subscriber, text or JSON, with everything that could leak kept out.

//! The world without a wire.

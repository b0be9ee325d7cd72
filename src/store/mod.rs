//! The store: the only code that names sled.

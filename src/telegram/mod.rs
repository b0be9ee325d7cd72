//! The only code that names grammers.

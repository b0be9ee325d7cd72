//! The supervision tree's rules: what follows when a child ends, when a link that claims to be up is not getting
//! on, how often a loop may go round. Owns policies as data; never which actor they are for. Failures and times come in;
//! decisions and pauses go out.

pub mod member;
pub mod pace;
pub mod restart;
pub mod table;
pub mod watchdog;

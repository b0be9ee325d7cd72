//! Users of the API: whose something is, who asks, and what that one may see. A user is somebody of the API;
//! a person or bot at Telegram is never called one.

pub mod owner;

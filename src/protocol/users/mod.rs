//! Users of the API: whose something is, who asks, and what that one may see. A user is somebody of the API;
//! a person or bot at Telegram is never called one. Owns these rules; never how somebody proves who they are. Who asks comes
//! in from an edge; a scope goes out, by which the rest looks things up.

pub mod owner;

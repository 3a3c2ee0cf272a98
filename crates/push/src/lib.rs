//! The push role: a server of the Pusher protocol, version 7, whose pages can resume.
//!
//! [`Push`] holds the apps. [`Push::publish`] hands a message to a channel, which encodes
//! it once and puts it into the queue of every subscriber; `socket` writes queues to
//! WebSockets, `http` serves Pusher's HTTP API, `webhook` tells servers what happened.
//! Every message has a place ([`Token`]) in its channel: a page that comes back says
//! where it was and gets what it missed, or a snapshot, without a gap. Nothing is kept on
//! disk, and no store or log is known here: a [`ResumeSource`] may stand behind channels.

mod channel;
mod client;
mod connection;
mod error;
mod frame;
mod http;
mod hub;
mod name;
mod options;
mod outside;
mod position;
mod push;
mod rate;
mod session;
mod signature;
mod socket;
mod source;
mod webhook;

pub use error::{PublishError, PushError};
pub use name::{ChannelName, Kind, NameError};
pub use options::{App, PushOptions, Secret, Webhook, WebhookEvent};
pub use outside::{Outside, OutsideError, OutsideEvent, OutsideOptions, OutsideUrlError};
pub use position::{Position, Token, TokenError};
pub use push::{Message, Published, Push};
pub use source::{Missed, ResumeSource, Resumption, SourceError};

//! The messages of TensorBoard's event files, as far as they are written here: `tensorflow/core/util/event.proto` and
//! `tensorflow/core/framework/summary.proto`.

use prost::{Message, Oneof};

/// What the first record of a file says.
pub const VERSION: &str = "brain.Event:2";

/// One record.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    pub wall_time: f64,
    /// Iterations done.
    #[prost(int64, tag = "2")]
    pub step: i64,
    /// What is told.
    #[prost(oneof = "What", tags = "3, 5")]
    pub what: Option<What>,
}

/// What an event tells.
#[derive(Clone, PartialEq, Oneof)]
pub enum What {
    /// The format, in the first record.
    #[prost(string, tag = "3")]
    FileVersion(String),
    /// Numbers and pictures.
    #[prost(message, tag = "5")]
    Summary(Summary),
}

/// Numbers and pictures of one step.
#[derive(Clone, PartialEq, Message)]
pub struct Summary {
    /// One per tag.
    #[prost(message, repeated, tag = "1")]
    pub value: Vec<Value>,
}

/// A number or a picture.
#[derive(Clone, PartialEq, Message)]
pub struct Value {
    /// Its name; parts before a `/` group it.
    #[prost(string, tag = "1")]
    pub tag: String,
    /// What it is.
    #[prost(oneof = "Content", tags = "2, 4")]
    pub content: Option<Content>,
}

/// What a value is.
#[derive(Clone, PartialEq, Oneof)]
pub enum Content {
    /// A number.
    #[prost(float, tag = "2")]
    Number(f32),
    /// A picture.
    #[prost(message, tag = "4")]
    Picture(Picture),
}

/// An encoded picture.
#[derive(Clone, PartialEq, Message)]
pub struct Picture {
    /// Pixels.
    #[prost(int32, tag = "1")]
    pub height: i32,
    /// Pixels.
    #[prost(int32, tag = "2")]
    pub width: i32,
    /// 3: RGB.
    #[prost(int32, tag = "3")]
    pub colorspace: i32,
    /// PNG.
    #[prost(bytes = "vec", tag = "4")]
    pub encoded: Vec<u8>,
}

//! Protocol buffers of TensorBoard's event files, restricted to the fields in use: `tensorflow/core/util/event.proto` and
//! `tensorflow/core/framework/summary.proto`.

use prost::{Message, Oneof};

/// Version string in the first record of a file.
pub const VERSION: &str = "brain.Event:2";

/// Record of an event file.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    pub wall_time: f64,
    /// Number of iterations done.
    #[prost(int64, tag = "2")]
    pub step: i64,
    /// Content of the record.
    #[prost(oneof = "Payload", tags = "3, 5")]
    pub payload: Option<Payload>,
}

/// Content of a record.
#[derive(Clone, PartialEq, Oneof)]
pub enum Payload {
    /// Version of the format, in the first record.
    #[prost(string, tag = "3")]
    FileVersion(String),
    /// Values of one step.
    #[prost(message, tag = "5")]
    Summary(Summary),
}

/// Values of one step.
#[derive(Clone, PartialEq, Message)]
pub struct Summary {
    /// At most one value per tag.
    #[prost(message, repeated, tag = "1")]
    pub value: Vec<Value>,
}

/// Named scalar or image.
#[derive(Clone, PartialEq, Message)]
pub struct Value {
    /// Name; TensorBoard groups values by the part before the first `/`.
    #[prost(string, tag = "1")]
    pub tag: String,
    /// Scalar or image.
    #[prost(oneof = "Content", tags = "2, 4")]
    pub content: Option<Content>,
}

/// Scalar or image.
#[derive(Clone, PartialEq, Oneof)]
pub enum Content {
    /// `simple_value`.
    #[prost(float, tag = "2")]
    Number(f32),
    /// `image`.
    #[prost(message, tag = "4")]
    Picture(Picture),
}

/// Encoded image.
#[derive(Clone, PartialEq, Message)]
pub struct Picture {
    /// In pixels.
    #[prost(int32, tag = "1")]
    pub height: i32,
    /// In pixels.
    #[prost(int32, tag = "2")]
    pub width: i32,
    /// Number of channels: 3 for RGB.
    #[prost(int32, tag = "3")]
    pub colorspace: i32,
    /// PNG file.
    #[prost(bytes = "vec", tag = "4")]
    pub encoded: Vec<u8>,
}

//! tmp
use models::plane::Plane;
/// tmp
pub fn write(_: &std::path::Path, _: &crate::data::Sample, _: Option<&Plane<u8>>, _: &Plane<f32>) -> models::Result<()> { Ok(()) }

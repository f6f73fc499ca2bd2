//! How far beyond its core a window reads.

use std::str::FromStr;

use models::card::ModelCard;

use crate::tile::{TileGrid, Windows};

/// Pixels read around each core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Halo {
    /// The halo that was measured for the model, or all its reach where none was.
    #[default]
    Card,
    /// All that a value can depend on: tiles cannot show.
    Exact,
    /// So many pixels at the model's scale.
    Px(usize),
}

impl FromStr for Halo {
    type Err = String;

    /// A number of pixels, or `exact`.
    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("exact", _) => Ok(Self::Exact),
            (_, Ok(px)) => Ok(Self::Px(px)),
            _ => Err(format!("expected a number of pixels or `exact`, found {text:?}")),
        }
    }
}

impl Halo {
    /// Pixels for a model.
    pub fn px(self, card: &ModelCard) -> usize {
        match self {
            Self::Card => card.default_halo_px(),
            Self::Exact => card.reach_px,
            Self::Px(px) => px,
        }
    }

    /// The side of windows unless another one is asked for.
    pub fn tile_px(self, card: &ModelCard, windows: Windows) -> usize {
        TileGrid::default_tile(self.px(card).next_multiple_of(card.stride), windows)
    }
}

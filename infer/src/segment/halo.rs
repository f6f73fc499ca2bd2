//! Choice of the halo: the context in pixels that a window reads around its core.

use std::str::FromStr;

use models::card::ModelCard;

use crate::tile::{TileGrid, Windows};

/// Halo of the windows of a slide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Halo {
    /// Halo that was measured for the model, or the exact halo if none was measured.
    #[default]
    Card,
    /// The whole reach of the network, so that results do not depend on the tile grid.
    Exact,
    /// Number of pixels at the model's scale.
    Px(usize),
}

/// Largest halo on the command line.
const MAX_PX: usize = 1 << 14;

impl FromStr for Halo {
    type Err = String;

    /// Parses a number of pixels, or `exact`.
    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("exact", _) => Ok(Self::Exact),
            (_, Ok(px)) if px <= MAX_PX => Ok(Self::Px(px)),
            _ => Err(format!("expected a number of pixels from 0 to {MAX_PX} or `exact`, found {text:?}")),
        }
    }
}

impl Halo {
    /// Returns the halo in pixels for a model.
    pub fn px(self, card: &ModelCard) -> usize {
        match self {
            Self::Card => card.default_halo_px(),
            Self::Exact => card.reach_px,
            Self::Px(px) => px,
        }
    }

    /// Returns the default side of windows in pixels.
    pub fn tile_px(self, card: &ModelCard, windows: Windows) -> usize {
        TileGrid::default_tile(self.px(card).next_multiple_of(card.stride), windows)
    }
}

//! Model file (`.onnx`): read once into memory, checked byte for byte. Sessions are built from the bytes that were checked.
//!
//! The last bytes of a file are its **seal**: a metadata entry with the SHA-256 of all bytes before it. ONNX Runtime loads a third of all
//! damaged files without an error and computes other results; the seal detects every changed byte. It does not protect against intent,
//! because whoever can write the file can seal it; signatures do.

use std::fmt;
use std::path::Path;

use engine::Program;
use kernels::Isa;
use models::card::{Class, METADATA_KEY, ModelCard};
use prost::Message;
use support::{Context, ErrorKind, Result, bail, durable};

use onnx::golden::{self, GoldenTile};
use onnx::proto::{AttributeProto, GraphProto, ModelMetadata, ModelProto, NodeProto, StringStringEntryProto};
use onnx::seal::unsealed;

/// Size limit of a model file.
pub const MAX_BYTES: u64 = 1 << 30;
/// Largest number of nodes of a graph; this project's largest model has about 300.
const MAX_NODES: usize = 4096;
/// Largest number of golden tiles, which are run before every use.
pub const MAX_GOLDEN_TILES: usize = 16;
/// Operators of this project's models; a file with any other operator is refused.
pub const OPERATORS: [&str; 21] = [
    "Add",
    "BatchNormalization",
    "Cast",
    "Concat",
    "Clip",
    "Conv",
    "ConvTranspose",
    "DepthToSpace",
    "DequantizeLinear",
    "MaxPool",
    "Mul",
    "QuantizeLinear",
    "Relu",
    "Resize",
    "Round",
    "Sigmoid",
    "Slice",
    "Squeeze",
    "Sub",
    "Transpose",
    "Unsqueeze",
];

/// Checked model file in memory, with its metadata.
#[derive(Clone)]
pub struct Model {
    /// Contents of the file.
    pub bytes: Vec<u8>,
    /// SHA-256 of the file, which identifies the model in outputs.
    pub sha256: String,
    /// Model card.
    pub card: ModelCard,
    /// Golden tiles; none in files of card version 1.
    pub golden: Vec<GoldenTile>,
}

impl Model {
    /// Reads and checks a file; see [`Model::from_bytes`].
    pub fn open(path: &Path) -> Result<Self> {
        Self::from_bytes(durable::read(path, MAX_BYTES)?).doing(|| format!("opening the model {}", path.display()))
    }

    /// Checks a file in memory.
    ///
    /// # Errors
    /// A wrong or missing seal, no model card, an operator outside of [`OPERATORS`], or weights in another file.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        match unsealed(&bytes) {
            Some((contents, seal)) if durable::sha256(contents) != seal => {
                bail!(Damaged; "the file is damaged: its contents do not match their sha256"; hint: "copy it again, or export it again")
            }
            Some(_) => {}
            None => return Err(explain_missing_seal(&bytes)),
        }
        let proto = ModelProto::decode(bytes.as_slice()).doing(|| "parsing ONNX")?;
        let card = ModelCard::from_json(card_text(&proto.metadata_props)?)?;
        let Some(graph) = &proto.graph else { bail!("the file has no graph") };
        if !proto.functions.is_empty() || !proto.training_info.is_empty() {
            bail!("the file defines functions or training graphs, which models of this project do not");
        }
        check_graph(graph)?;
        let golden = golden_tiles(&proto.metadata_props)?;
        Ok(Self { sha256: durable::sha256(&bytes), bytes, card, golden })
    }
}

impl Model {
    /// Returns the class of the nuclei: the second class of the card, after background, or the only one.
    ///
    /// # Errors
    /// A card without classes.
    pub fn class(&self) -> Result<&Class> {
        let Some(class) = self.card.classes.get(1).or(self.card.classes.first()) else {
            bail!("the card of the model {} names no class", self.card.name);
        };
        Ok(class)
    }

    /// Prepares the network for the project's own kernels and the best instruction set of this machine.
    ///
    /// # Errors
    /// A model with operations that have no kernel; the error names the first.
    pub fn program(&self) -> Result<Program> {
        self.program_for(Isa::best())
    }

    /// Prepares the network for an instruction set, which must be among [`Isa::available`].
    pub fn program_for(&self, isa: Isa) -> Result<Program> {
        let proto = ModelProto::decode(self.bytes.as_slice()).doing(|| "parsing ONNX")?;
        let Some(graph) = &proto.graph else { bail!("the file has no graph") };
        let program = engine::prepare(graph, self.card.stride, isa).kind(ErrorKind::Unsupported);
        program
            .doing(|| format!("running {} by the native kernels", self.card.name))
            .hint(|| "use --device cpu, or export the model in f32")
    }
}

/// The bytes are left out, because there are millions.
impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("sha256", &self.sha256).field("card", &self.card).finish_non_exhaustive()
    }
}

/// Returns the error for a file without a seal: another format, an ONNX model of another program, or a damaged model.
fn explain_missing_seal(bytes: &[u8]) -> support::Error {
    use ErrorKind::{Damaged, Unsupported};
    let again = "if it was copied or downloaded, do that again and compare sha256; else export the checkpoint again";
    match ModelMetadata::decode(bytes) {
        Err(error) => support::Error::new(format!("not an ONNX model, or not a whole one, of {} bytes: {error}", bytes.len()))
            .of_kind(Damaged)
            .hint(again),
        Ok(model) if model.ir_version == 0 => {
            support::Error::new("not an ONNX model").of_kind(Unsupported).hint("give the .onnx file that `export onnx` wrote")
        }
        Ok(model) if card_text(&model.metadata_props).is_err() => {
            support::Error::new(format!("an ONNX model without a model card, written by {:?}", model.producer_name))
                .of_kind(Unsupported)
                .hint("only models that `export onnx` wrote can be used: their card says how")
        }
        Ok(_) => support::Error::new("the file is damaged or was edited: it does not end with its sha256").of_kind(Damaged).hint(again),
    }
}

/// Parses the golden tiles in the metadata.
fn golden_tiles(metadata: &[StringStringEntryProto]) -> Result<Vec<GoldenTile>> {
    let mut found = metadata.iter().filter(|entry| entry.key == golden::METADATA_KEY);
    match (found.next(), found.next()) {
        (None, _) => Ok(Vec::new()),
        (Some(entry), None) => {
            let tiles: Vec<GoldenTile> = serde_json::from_str(&entry.value).doing(|| "parsing the golden tiles")?;
            if tiles.len() > MAX_GOLDEN_TILES {
                bail!("the file has {} golden tiles, expected at most {MAX_GOLDEN_TILES}", tiles.len());
            }
            Ok(tiles)
        }
        (Some(_), Some(_)) => bail!("the file has more than one set of golden tiles"),
    }
}

/// Returns the JSON text of the only model card in the metadata.
fn card_text(metadata: &[StringStringEntryProto]) -> Result<&str> {
    let mut cards = metadata.iter().filter(|entry| entry.key == METADATA_KEY);
    match (cards.next(), cards.next()) {
        (Some(card), None) => Ok(&card.value),
        (None, _) => bail!("the file has no model card"),
        (Some(_), Some(_)) => bail!("the file has more than one model card"),
    }
}

/// Checks that the graph refers to nothing outside the file and consists of this project's operators.
fn check_graph(graph: &GraphProto) -> Result<()> {
    for tensor in &graph.initializer {
        if tensor.data_location != 0 || !tensor.external_data.is_empty() {
            bail!("the weights {:?} are in another file, which is not allowed", tensor.name; hint: "export the checkpoint again: models are one file");
        }
    }
    if !graph.sparse_initializer.is_empty() {
        bail!("the file has sparse weights, which models of this project do not");
    }
    if graph.node.len() > MAX_NODES {
        bail!("the graph has {} nodes, expected at most {MAX_NODES}", graph.node.len());
    }
    graph.node.iter().try_for_each(check_node)
}

fn check_node(node: &NodeProto) -> Result<()> {
    if !matches!(node.domain.as_str(), "" | "ai.onnx") || !OPERATORS.contains(&node.op_type.as_str()) {
        bail!("the node {:?} is a {:?} of {:?}, which models of this project do not have", node.name, node.op_type, node.domain);
    }
    let nested = |a: &AttributeProto| a.t.is_some() || a.g.is_some() || !a.tensors.is_empty() || !a.graphs.is_empty();
    if let Some(attribute) = node.attribute.iter().find(|attribute| nested(attribute)) {
        bail!("the node {:?} has tensors or graphs in its attribute {:?}, which models of this project do not", node.name, attribute.name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_other_kinds_have_distinct_errors() {
        let error = |bytes: &[u8]| Model::from_bytes(bytes.to_vec()).unwrap_err().to_string();
        assert!(error(b"").contains("not an ONNX model"), "{}", error(b""));
        assert!(error(b"\x89PNG\r\n\x1a\n").contains("not a whole one"), "{}", error(b"\x89PNG\r\n\x1a\n"));
        let foreign = ModelProto { ir_version: 8, producer_name: "pytorch".into(), ..ModelProto::default() };
        assert!(error(&foreign.encode_to_vec()).contains("written by \"pytorch\""));
    }
}

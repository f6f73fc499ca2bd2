//! `nuclei.parquet`: the columns of `nuclei.csv`, typed, for pandas, Arrow and DuckDB.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::{Compression, Repetition, Type};
use parquet::data_type::{BoolType, DoubleType, FloatType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type as Schema;
use support::Result;
use support::durable::AtomicFile;

use super::shared_file::SharedFile;
use super::table::{Field, fields, row};
use super::{Frame, Nucleus};

/// Number of nuclei per row group, which take about 12 MB of memory.
const ROW_GROUP: usize = 1 << 16;

/// Streaming writer of a Parquet file.
pub struct ParquetWriter {
    file: SharedFile,
    writer: SerializedFileWriter<SharedFile>,
    frame: Frame,
    /// Values of each column of the current row group.
    buffered: Vec<Vec<f64>>,
    types: Vec<Type>,
}

impl ParquetWriter {
    /// Creates a file with the schema of [`fields`].
    pub fn new(file: AtomicFile, frame: Frame) -> Result<Self> {
        let file = SharedFile::new(file);
        let fields = fields(&frame);
        let types: Vec<Type> = fields.iter().map(|(_, field)| physical(*field)).collect();
        let columns = fields.iter().zip(&types).map(|((name, _), &kind)| {
            Schema::primitive_type_builder(name, kind).with_repetition(Repetition::REQUIRED).build().map(Arc::new)
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let schema = Schema::group_type_builder("nuclei").with_fields(columns).build()?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let writer = SerializedFileWriter::new(file.clone(), Arc::new(schema), Arc::new(properties));
        let writer = writer.map_err(|error| file.failed(error))?;
        Ok(Self { file, writer, frame, buffered: vec![Vec::new(); types.len()], types })
    }

    /// Adds a nucleus.
    pub fn add(&mut self, nucleus: &Nucleus) -> Result<()> {
        for (column, value) in self.buffered.iter_mut().zip(row(nucleus, &self.frame)) {
            column.push(value);
        }
        if self.buffered[0].len() == ROW_GROUP { self.end_group() } else { Ok(()) }
    }

    /// Finishes the file.
    pub fn finish(mut self) -> Result<AtomicFile> {
        if !self.buffered[0].is_empty() {
            self.end_group()?;
        }
        self.writer.close().map_err(|error| self.file.failed(error))?;
        self.file.into_file()
    }

    /// Writes the buffered values as a row group.
    fn end_group(&mut self) -> Result<()> {
        let mut write = || -> parquet::errors::Result<()> {
            let mut group = self.writer.next_row_group()?;
            for (values, &kind) in self.buffered.iter_mut().zip(&self.types) {
                write_column(&mut group, kind, values)?;
                values.clear();
            }
            group.close().map(|_| ())
        };
        write().map_err(|error| self.file.failed(error))
    }
}

/// Returns the physical type of a column.
fn physical(field: Field) -> Type {
    match field {
        Field::Count => Type::INT64,
        Field::Truth => Type::BOOLEAN,
        Field::Position => Type::DOUBLE,
        Field::Length | Field::Colour | Field::Share => Type::FLOAT,
    }
}

fn write_column<W: Write + Send>(group: &mut SerializedRowGroupWriter<'_, W>, kind: Type, values: &[f64]) -> parquet::errors::Result<()> {
    let Some(mut column) = group.next_column()? else { unreachable!("every field has a column") };
    match kind {
        Type::INT64 => {
            let values: Vec<i64> = values.iter().map(|&v| v as i64).collect();
            column.typed::<Int64Type>().write_batch(&values, None, None)?;
        }
        Type::BOOLEAN => {
            let values: Vec<bool> = values.iter().map(|&v| v != 0.0).collect();
            column.typed::<BoolType>().write_batch(&values, None, None)?;
        }
        Type::DOUBLE => {
            column.typed::<DoubleType>().write_batch(values, None, None)?;
        }
        _ => {
            let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
            column.typed::<FloatType>().write_batch(&values, None, None)?;
        }
    }
    column.close()
}

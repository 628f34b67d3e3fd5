//! Lists of objects: a table of columns, or each in a `--format` of the person's own.

use clap::Args;
use serde_json::{Map, Value};

use crate::context::{Failure, print};
use crate::human::plain;
use crate::table::Table;
use crate::template::Template;

/// How a list is shown.
#[derive(Debug, Default, Args)]
pub(crate) struct Format {
    /// table, json, or a template as {{.Names}}; "table {{.Names}}" for a table of one's own columns
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Objects with their fields in Docker's words.
pub(crate) struct Listing {
    /// Field and title of each column that is shown without a format.
    columns: Vec<(&'static str, &'static str)>,
    rows: Vec<Value>,
}

impl Listing {
    pub(crate) fn new(columns: &[(&'static str, &'static str)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds an object: all its fields, whether or not they have a column.
    pub(crate) fn row<const N: usize>(&mut self, fields: [(&str, String); N]) {
        // names and labels may come from a container or image
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), plain(&value).into()));
        self.rows.push(Value::Object(fields.collect::<Map<_, _>>()));
    }

    pub(crate) fn print(&self, format: &Format) -> Result<u8, Failure> {
        match format.format.as_deref() {
            None | Some("table") => self.table()?,
            Some("json") => {
                for row in &self.rows {
                    print(row)?;
                }
            }
            Some(text) => {
                if let Some(columns) = text.strip_prefix("table ") {
                    return self.own_table(columns).map(|()| 0);
                }
                let template = Template::parse(text).map_err(Failure::new)?;
                for row in &self.rows {
                    print(template.render(row).map_err(Failure::new)?)?;
                }
            }
        }
        Ok(0)
    }

    fn table(&self) -> Result<(), Failure> {
        let titles: Vec<&str> = self.columns.iter().map(|(_, title)| *title).collect();
        let mut table = Table::new(&titles);
        for row in &self.rows {
            table.row(
                self.columns.iter().map(|(field, _)| row[*field].as_str().unwrap_or_default().to_owned()),
            );
        }
        table.print()
    }

    fn own_table(&self, columns: &str) -> Result<(), Failure> {
        let template = Template::parse(columns).map_err(Failure::new)?;
        let title = |field: &str| {
            let known = self.columns.iter().find(|(name, _)| *name == field);
            known.map(|(_, title)| (*title).to_owned())
        };
        let titles = template.titles(title);
        let titles: Vec<&str> = titles.split('\t').collect();
        let mut table = Table::new(&titles);
        for row in &self.rows {
            let line = template.render(row).map_err(Failure::new)?;
            table.row(line.split('\t').map(str::to_owned));
        }
        table.print()
    }
}

/// How whole objects are shown.
#[derive(Debug, Default, Args)]
pub(crate) struct ObjectFormat {
    /// json, or a template as {{.State.Status}}
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

impl ObjectFormat {
    pub(crate) fn is_given(&self) -> bool {
        self.format.is_some()
    }

    /// A JSON array, or each in the format.
    pub(crate) fn print(&self, objects: &[Value]) -> Result<(), Failure> {
        match self.format.as_deref() {
            None => print(serde_json::to_string_pretty(objects)?),
            Some("json") => print(serde_json::to_string(objects)?),
            Some(text) => {
                let template = Template::parse(text).map_err(Failure::new)?;
                for object in objects {
                    print(template.render(object).map_err(Failure::new)?)?;
                }
                Ok(())
            }
        }
    }
}

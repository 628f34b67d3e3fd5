use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::Error;

/// The format of the database; a higher one is refused.
const FORMAT: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE containers (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, created TEXT NOT NULL,
    image TEXT NOT NULL, image_id TEXT NOT NULL, options TEXT NOT NULL,
    auto_remove INTEGER NOT NULL, removing INTEGER NOT NULL DEFAULT 0, last TEXT
) STRICT;
CREATE TABLE networks (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, created TEXT NOT NULL, config TEXT, removing INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE endpoints (
    container TEXT NOT NULL REFERENCES containers(id) ON DELETE CASCADE,
    network TEXT NOT NULL REFERENCES networks(id),
    position INTEGER NOT NULL, settings TEXT NOT NULL,
    PRIMARY KEY (container, network)
) STRICT;
";

/// Objects and their names, in SQLite with a write-ahead log: what several processes share.
#[derive(Debug)]
pub(crate) struct Database {
    connection: Connection,
}

/// A container as it is recorded.
#[derive(Debug, Clone)]
pub(crate) struct ContainerRow {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) created: String,
    pub(crate) image: String,
    pub(crate) image_id: String,
    /// JSON of the options.
    pub(crate) options: String,
    pub(crate) auto_remove: bool,
    pub(crate) removing: bool,
    /// JSON of the last status that is known to have been final.
    pub(crate) last: Option<String>,
}

/// A network as it is recorded.
#[derive(Debug, Clone)]
pub(crate) struct NetworkRow {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) created: String,
    /// JSON of the configuration; none for `host` and `none`.
    pub(crate) config: Option<String>,
    pub(crate) removing: bool,
}

/// A container's place in a network as it is recorded.
#[derive(Debug, Clone)]
pub(crate) struct EndpointRow {
    pub(crate) container: String,
    pub(crate) network: String,
    pub(crate) position: i64,
    /// JSON of the settings.
    pub(crate) settings: String,
}

impl Database {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let connection = Connection::open(path).map_err(Error::database("cannot be opened"))?;
        connection.busy_timeout(Duration::from_secs(30)).map_err(Error::database("cannot be set up"))?;
        let mut database = Self { connection };
        let found = database.format()?;
        if found == FORMAT {
            database.execute_batch("PRAGMA foreign_keys = ON; PRAGMA synchronous = NORMAL;")?;
            return Ok(database);
        }
        if found > FORMAT {
            return Err(Error::Format { path: path.to_owned(), found, known: FORMAT });
        }
        // the write-ahead log stays chosen once it is; two processes may be here at once
        database.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON; PRAGMA synchronous = NORMAL;",
        )?;
        database.write("cannot be made", |transaction| {
            let found: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            if found == 0 {
                transaction.execute_batch(SCHEMA)?;
                transaction.pragma_update(None, "user_version", FORMAT)?;
            }
            Ok(())
        })?;
        Ok(database)
    }

    fn format(&self) -> Result<i64, Error> {
        self.connection
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .map_err(Error::database("cannot be read"))
    }

    fn execute_batch(&self, batch: &str) -> Result<(), Error> {
        self.connection.execute_batch(batch).map_err(Error::database("cannot be set up"))
    }

    /// One transaction that writes: all of it happens, or nothing.
    pub(crate) fn write<T>(
        &mut self,
        action: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(Error::database(action))?;
        let value = work(&transaction).map_err(Error::database(action))?;
        transaction.commit().map_err(Error::database(action))?;
        Ok(value)
    }

    /// Records a container and its endpoints; the id of the one that has the name already, if there is one.
    pub(crate) fn add_container(
        &mut self,
        row: &ContainerRow,
        endpoints: &[EndpointRow],
    ) -> Result<Option<String>, Error> {
        self.write("cannot record the container", |transaction| {
            let taken = transaction
                .query_row("SELECT id FROM containers WHERE name = ?1", [&row.name], |found| found.get(0))
                .optional()?;
            if taken.is_some() {
                return Ok(taken);
            }
            transaction.execute(
                "INSERT INTO containers (id, name, created, image, image_id, options, auto_remove)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![row.id, row.name, row.created, row.image, row.image_id, row.options, row.auto_remove],
            )?;
            for endpoint in endpoints {
                add_endpoint(transaction, endpoint)?;
            }
            Ok(None)
        })
    }

    pub(crate) fn containers(&self) -> Result<Vec<ContainerRow>, Error> {
        let read = || -> rusqlite::Result<Vec<_>> {
            let mut statement = self.connection.prepare(
                "SELECT id, name, created, image, image_id, options, auto_remove, removing, last
                 FROM containers ORDER BY created DESC, id",
            )?;
            let rows = statement.query_map([], |row| {
                Ok(ContainerRow {
                    id: row.get(0)?,
                    name: row.get(1)?,
                    created: row.get(2)?,
                    image: row.get(3)?,
                    image_id: row.get(4)?,
                    options: row.get(5)?,
                    auto_remove: row.get(6)?,
                    removing: row.get(7)?,
                    last: row.get(8)?,
                })
            })?;
            rows.collect()
        };
        read().map_err(Error::database("cannot read the containers"))
    }

    /// Marks a container as going: whoever comes next finishes its removal.
    pub(crate) fn mark_removing(&mut self, id: &str) -> Result<(), Error> {
        self.write("cannot mark the container", |transaction| {
            transaction.execute("UPDATE containers SET removing = 1 WHERE id = ?1", [id]).map(drop)
        })
    }

    pub(crate) fn set_last(&mut self, id: &str, last: &str) -> Result<(), Error> {
        self.write("cannot record the container's status", |transaction| {
            transaction.execute("UPDATE containers SET last = ?2 WHERE id = ?1", [id, last]).map(drop)
        })
    }

    pub(crate) fn remove_container(&mut self, id: &str) -> Result<(), Error> {
        self.write("cannot forget the container", |transaction| {
            transaction.execute("DELETE FROM containers WHERE id = ?1", [id]).map(drop)
        })
    }

    /// Records a network unless its name is taken; true if it was recorded.
    pub(crate) fn add_network(&mut self, row: &NetworkRow) -> Result<bool, Error> {
        self.write("cannot record the network", |transaction| {
            let count = transaction.execute(
                "INSERT OR IGNORE INTO networks (id, name, created, config) VALUES (?1, ?2, ?3, ?4)",
                params![row.id, row.name, row.created, row.config],
            )?;
            Ok(count == 1)
        })
    }

    pub(crate) fn networks(&self) -> Result<Vec<NetworkRow>, Error> {
        let read = || -> rusqlite::Result<Vec<_>> {
            let mut statement = self
                .connection
                .prepare("SELECT id, name, created, config, removing FROM networks ORDER BY created, name")?;
            let rows = statement.query_map([], |row| {
                Ok(NetworkRow {
                    id: row.get(0)?,
                    name: row.get(1)?,
                    created: row.get(2)?,
                    config: row.get(3)?,
                    removing: row.get(4)?,
                })
            })?;
            rows.collect()
        };
        read().map_err(Error::database("cannot read the networks"))
    }

    /// Gives a container another name; the id of the one that has it already.
    pub(crate) fn rename(&mut self, id: &str, name: &str, options: &str) -> Result<Option<String>, Error> {
        self.write("cannot rename the container", |transaction| {
            let other = transaction
                .query_row("SELECT id FROM containers WHERE name = ?1 AND id <> ?2", [name, id], |row| {
                    row.get(0)
                })
                .optional()?;
            if other.is_none() {
                transaction.execute(
                    "UPDATE containers SET name = ?2, options = ?3 WHERE id = ?1",
                    [id, name, options],
                )?;
            }
            Ok(other)
        })
    }

    /// Records other options of a container.
    pub(crate) fn set_options(&mut self, id: &str, options: &str) -> Result<(), Error> {
        self.write("cannot record the options", |transaction| {
            transaction.execute("UPDATE containers SET options = ?2 WHERE id = ?1", [id, options]).map(drop)
        })
    }

    /// Marks a network as going unless a container has a place in it; the ids of those that have.
    pub(crate) fn mark_network_removing(&mut self, id: &str) -> Result<Vec<String>, Error> {
        self.write("cannot mark the network", |transaction| {
            let mut statement = transaction.prepare("SELECT container FROM endpoints WHERE network = ?1")?;
            let users: Vec<String> =
                statement.query_map([id], |row| row.get(0))?.collect::<Result<_, _>>()?;
            if users.is_empty() {
                transaction.execute("UPDATE networks SET removing = 1 WHERE id = ?1", [id])?;
            }
            Ok(users)
        })
    }

    pub(crate) fn remove_network(&mut self, id: &str) -> Result<(), Error> {
        self.write("cannot forget the network", |transaction| {
            transaction.execute("DELETE FROM networks WHERE id = ?1", [id]).map(drop)
        })
    }

    pub(crate) fn endpoints(&self) -> Result<Vec<EndpointRow>, Error> {
        let read = || -> rusqlite::Result<Vec<_>> {
            let mut statement = self.connection.prepare(
                "SELECT container, network, position, settings FROM endpoints ORDER BY container, position",
            )?;
            let rows = statement.query_map([], |row| {
                Ok(EndpointRow {
                    container: row.get(0)?,
                    network: row.get(1)?,
                    position: row.get(2)?,
                    settings: row.get(3)?,
                })
            })?;
            rows.collect()
        };
        read().map_err(Error::database("cannot read the endpoints"))
    }

    /// Records one more place of a container; false if it has one in that network.
    pub(crate) fn connect(&mut self, row: &EndpointRow) -> Result<bool, Error> {
        self.write("cannot record the endpoint", |transaction| {
            let known = transaction
                .query_row(
                    "SELECT 1 FROM endpoints WHERE container = ?1 AND network = ?2",
                    [&row.container, &row.network],
                    |_| Ok(()),
                )
                .optional()?;
            if known.is_some() {
                return Ok(false);
            }
            add_endpoint(transaction, row)?;
            Ok(true)
        })
    }

    /// Forgets a container's place in a network; false if it had none.
    pub(crate) fn disconnect(&mut self, container: &str, network: &str) -> Result<bool, Error> {
        self.write("cannot forget the endpoint", |transaction| {
            let count = transaction.execute(
                "DELETE FROM endpoints WHERE container = ?1 AND network = ?2",
                [container, network],
            )?;
            Ok(count == 1)
        })
    }
}

fn add_endpoint(transaction: &Transaction<'_>, row: &EndpointRow) -> rusqlite::Result<()> {
    transaction
        .execute(
            "INSERT INTO endpoints (container, network, position, settings) VALUES (?1, ?2, ?3, ?4)",
            params![row.container, row.network, row.position, row.settings],
        )
        .map(drop)
}

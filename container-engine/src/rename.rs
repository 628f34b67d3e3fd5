use crate::containers::{Phase, decode, encode};
use crate::{Engine, Error, name};

impl Engine {
    /// Gives a container another name; it is known by it in its networks at once. Atomic.
    ///
    /// # Errors
    ///
    /// [`Error::ContainerNameTaken`].
    pub async fn rename_container(&self, text: &str, new: &str) -> Result<(), Error> {
        let new = new.strip_prefix('/').unwrap_or(new);
        name::check("container name", new)?;
        let row = self.find_row(text)?;
        let _lock = self.lock_container(&row.id)?;
        let mut options = decode(&row)?;
        options.name = Some(new.to_owned());
        let taken = self.database().rename(&row.id, new, &encode(&row.id, &options)?)?;
        if let Some(by) = taken {
            return Err(Error::ContainerNameTaken { name: new.to_owned(), by });
        }
        let row = self.find_row(&row.id)?;
        if matches!(self.phase(&row)?, Phase::Running { .. }) {
            self.announce_name(&row)?;
        }
        self.events.record("container", "rename", &row.id, &[("name", new), ("image", &row.image)])
    }
}

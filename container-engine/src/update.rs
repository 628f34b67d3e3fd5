use crate::containers::{container_id, decode, encode};
use crate::options::{Resources, RestartPolicy};
use crate::start::restart_of;
use crate::{Engine, Error, bundle};

impl Engine {
    /// Changes limits and the restart policy of a container; what is not given stays. One that runs has them at once. If the kernel refuses
    /// a limit, nothing is recorded.
    pub async fn update_container(
        &self,
        text: &str,
        resources: &Resources,
        restart: Option<RestartPolicy>,
    ) -> Result<(), Error> {
        let row = self.find_row(text)?;
        let _lock = self.lock_container(&row.id)?;
        let mut options = decode(&row)?;
        if let Some(restart) = restart {
            if options.auto_remove && restart != RestartPolicy::No {
                let reason = "a container that is removed when it ends is not started again";
                return Err(Error::setting("restart policy", restart.to_string(), reason));
            }
            options.restart = restart;
        }
        options.resources.merge(resources);
        if self.is_running(&row.id)? {
            let limits = bundle::limits(resources);
            if limits.as_object().is_some_and(|map| !map.is_empty()) {
                let mut limits = bundle::limits(&options.resources);
                // asked for again a limit would be written again, which for swap depends on the order
                if resources.memory.is_none() && resources.memory_swap.is_none() {
                    limits["memory"].take();
                }
                let typed = serde_json::from_value(limits).map_err(|source| Error::Record {
                    what: "container",
                    id: row.id.clone(),
                    source,
                })?;
                self.runtime.update(&container_id(&row.id)?, &typed)?;
            }
            let mut orders = self.orders(&row)?;
            orders.restart = restart_of(&options.restart);
            self.give_orders(&row, &orders)?;
            self.reload(&row)?;
        }
        self.database().set_options(&row.id, &encode(&row.id, &options)?)?;
        self.events.record("container", "update", &row.id, &[("name", &row.name), ("image", &row.image)])
    }
}

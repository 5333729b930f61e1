//! Connections to the store for one purpose, and calls over them that always end.

use std::time::Duration;

use deadpool_postgres::{Object, Pool};
use tokio::time::timeout;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use crate::StoreError;
use crate::error::leaves_connection_fit;

/// Parameters of a statement.
pub(crate) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Connections for one purpose, so that one kind of call cannot starve another.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    pool: Pool,
    call_timeout: Duration,
}

impl Connections {
    /// Those of `pool`; a call that takes longer than `call_timeout` fails and gives its connection up.
    pub(crate) fn new(pool: Pool, call_timeout: Duration) -> Self {
        Self { pool, call_timeout }
    }

    /// Runs one prepared statement by itself: one round trip, once the connection knows it.
    pub(crate) async fn query(
        &self,
        step: &'static str,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        let lent = self.borrow(step).await?;
        let rows = lent.query(step, sql, params).await;
        if rows.as_ref().map_or_else(StoreError::leaves_connection_fit, |_| true) {
            lent.give_back();
        }
        rows
    }

    /// Borrows a connection; the pool's own timeouts bound the wait.
    pub(crate) async fn borrow(&self, step: &'static str) -> Result<Lent, StoreError> {
        let object = self.pool.get().await.map_err(|source| StoreError::Connection { step, source })?;
        Ok(Lent { object: Some(object), call_timeout: self.call_timeout })
    }

    /// Closes every connection; calls fail from here on.
    pub(crate) fn close(&self) {
        self.pool.close();
    }
}

/// A borrowed connection. Dropped without [`Lent::give_back`] (an error, a cancelled call) it is closed, so that no
/// open transaction and no half-read answer ever goes back to the pool.
#[derive(Debug)]
pub(crate) struct Lent {
    object: Option<Object>,
    call_timeout: Duration,
}

impl Lent {
    /// Runs one prepared statement.
    pub(crate) async fn query(
        &self,
        step: &'static str,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        let client = self.client(step)?;
        let call = async {
            let statement = client.prepare_cached(sql).await?;
            client.query(&statement, params).await
        };
        within(self.call_timeout, step, call).await
    }

    /// Opens a transaction with its first statement: one round trip, once the connection knows the statement.
    pub(crate) async fn begin(
        &self,
        step: &'static str,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        let client = self.client(step)?;
        let call = async {
            // Known before anything is sent, so that the two go out in the order of their first polls.
            let statement = client.prepare_cached(sql).await?;
            let (begun, rows) =
                tokio::join!(biased; client.batch_execute("BEGIN"), client.query(&statement, params));
            begun.and(rows)
        };
        within(self.call_timeout, step, call).await
    }

    /// Ends a transaction with its last statement, in one round trip like [`Lent::begin`].
    pub(crate) async fn commit(
        &self,
        step: &'static str,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        let client = self.client(step)?;
        let call = async {
            let statement = client.prepare_cached(sql).await?;
            // A statement that fails turns the commit into a rollback.
            let (rows, ended) =
                tokio::join!(biased; client.query(&statement, params), client.batch_execute("COMMIT"));
            ended.and(rows)
        };
        within(self.call_timeout, step, call).await
    }

    /// Runs statements that take no parameters and answer nothing.
    pub(crate) async fn run(&self, step: &'static str, sql: &'static str) -> Result<(), StoreError> {
        let client = self.client(step)?;
        within(self.call_timeout, step, client.batch_execute(sql)).await
    }

    /// The client itself; there is one until the connection is given back, which ends this.
    fn client(&self, step: &'static str) -> Result<&Object, StoreError> {
        self.object.as_ref().ok_or(StoreError::Timeout { step })
    }

    /// Back to the pool: idle, in no transaction.
    pub(crate) fn give_back(mut self) {
        drop(self.object.take());
    }

    /// The same connection with another bound on its calls.
    pub(crate) fn bounded_by(mut self, call_timeout: Duration) -> Self {
        self.call_timeout = call_timeout;
        self
    }

    /// The client itself; never none before the connection is given back.
    pub(crate) fn client_mut(&mut self) -> Option<&mut Client> {
        self.object.as_mut().map(|object| &mut ***object)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Dropping the wrapper ends its connection task, and the server rolls back.
        drop(self.object.take().map(Object::take));
    }
}

impl StoreError {
    fn leaves_connection_fit(&self) -> bool {
        match self {
            Self::Query { source, .. } => leaves_connection_fit(source),
            Self::Connection { .. } | Self::Timeout { .. } | Self::Row { .. } | Self::Document(_) => false,
        }
    }
}

async fn within<T>(
    limit: Duration,
    step: &'static str,
    call: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, StoreError> {
    match timeout(limit, call).await {
        Ok(answer) => answer.map_err(|source| StoreError::Query { step, source }),
        Err(_) => Err(StoreError::Timeout { step }),
    }
}

//! The table of routes: the router and `/openapi.json` are both built from it.
//!
//! A module of the API hands over its [`Route`]s, each with what people must know
//! about it; so a route cannot be served without being documented, nor the other
//! way round. Describes and registers; answers nothing.

use std::sync::Arc;

use axum::{
    Router,
    handler::Handler,
    http::StatusCode,
    routing::{self, MethodRouter},
};
use schemars::{JsonSchema, Schema};

use crate::{context::Shared, openapi::schema_of};

/// One method of one path.
pub(crate) struct Route {
    /// Lower case, as OpenAPI wants it.
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    /// What it does, in a line.
    pub(crate) summary: &'static str,
    pub(crate) query: Option<Schema>,
    pub(crate) body: Option<BodyDoc>,
    pub(crate) answer: Answer,
    handler: MethodRouter<Arc<Shared>>,
}

/// What a body may be.
pub(crate) struct BodyDoc {
    pub(crate) schema: Option<Schema>,
    pub(crate) media_types: &'static [&'static str],
    pub(crate) what: &'static str,
}

/// What a success looks like.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) media_type: &'static str,
    pub(crate) what: &'static str,
}

const JSON: &str = "application/json";

impl Route {
    pub(crate) fn get<H, T>(path: &'static str, summary: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Shared>>,
        T: 'static,
    {
        Self::new("get", path, summary, routing::get(handler))
    }

    pub(crate) fn post<H, T>(path: &'static str, summary: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Shared>>,
        T: 'static,
    {
        Self::new("post", path, summary, routing::post(handler))
    }

    pub(crate) fn patch<H, T>(path: &'static str, summary: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Shared>>,
        T: 'static,
    {
        Self::new("patch", path, summary, routing::patch(handler))
    }

    pub(crate) fn delete<H, T>(path: &'static str, summary: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Shared>>,
        T: 'static,
    {
        Self::new("delete", path, summary, routing::delete(handler))
    }

    fn new(
        method: &'static str,
        path: &'static str,
        summary: &'static str,
        handler: MethodRouter<Arc<Shared>>,
    ) -> Self {
        let answer = Answer { status: StatusCode::OK, media_type: JSON, what: "done" };
        Self { method, path, summary, query: None, body: None, answer, handler }
    }

    /// Documents the query by the type that reads it.
    pub(crate) fn query<Q: JsonSchema>(mut self) -> Self {
        self.query = Some(schema_of::<Q>());
        self
    }

    /// Documents a JSON body by the type that reads it.
    pub(crate) fn body<B: JsonSchema>(mut self, what: &'static str) -> Self {
        self.body = Some(BodyDoc { schema: Some(schema_of::<B>()), media_types: &[JSON], what });
        self
    }

    /// Documents a body that is read by its media type.
    pub(crate) fn raw_body(
        mut self,
        media_types: &'static [&'static str],
        what: &'static str,
    ) -> Self {
        self.body = Some(BodyDoc { schema: None, media_types, what });
        self
    }

    /// Documents a success with another status than 200.
    pub(crate) fn answers(mut self, status: StatusCode, what: &'static str) -> Self {
        self.answer.status = status;
        self.answer.what = what;
        self
    }

    /// Documents the JSON of a success.
    pub(crate) fn answers_json(mut self, what: &'static str) -> Self {
        self.answer.what = what;
        self
    }

    /// Documents a success that is not JSON.
    pub(crate) fn answers_as(mut self, media_type: &'static str, what: &'static str) -> Self {
        self.answer.media_type = media_type;
        self.answer.what = what;
        self
    }
}

/// Builds the router of all routes.
pub(crate) fn router(routes: Vec<Route>) -> Router<Arc<Shared>> {
    routes.into_iter().fold(Router::new(), |router, route| router.route(route.path, route.handler))
}

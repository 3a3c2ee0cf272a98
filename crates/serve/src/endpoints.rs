//! The file's endpoints, and the routes that sources bring.
//!
//! Everything that the API and the pages do not know comes here: first the file's
//! endpoints (they only read), then the table of the sources. So a path may be both:
//! `GET /messages` reads, `POST /messages` is a source's. Errors are flat, as the
//! clients of these paths know them.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    body::Body as ResponseBody,
    extract::{FromRequest, Query, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use courant_pipeline::{
    plan::EndpointPlan,
    routes::{RouteHandler, RouteMatch, RouteRequest},
};
use courant_stores::{Filter, FindQuery, SortKey, WatchFrom};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

pub(crate) mod view;

use self::view::{Latest, ViewEndpoint};
use crate::{
    cached::{self, Held},
    context::Shared,
    error::ApiError,
    extract::{self, Body},
    find::{self, Narrowing},
    stream::changes::{self, Watch},
    telemetry::RouteLabel,
};

/// The file's endpoints, found by path.
#[derive(Debug)]
pub(crate) struct Endpoints {
    matcher: matchit::Router<usize>,
    plans: Vec<(String, EndpointPlan, Latest)>,
}

/// Why an endpoint cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("endpoint {path:?} cannot be served: {why}")]
pub struct EndpointError {
    pub path: String,
    pub why: String,
}

/// What a list endpoint takes when it is followed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FollowQuery {
    /// A filter such as `{"status": "Shipped"}`.
    filter: Option<String>,
    /// Order of the snapshot; the endpoint's unless given.
    sort: Option<String>,
    /// First so many documents, then every change since.
    snapshot: Option<usize>,
}

/// What a cache endpoint takes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CacheQuery {
    /// `object` (default): fields by name; `list`: `{"count", "data": […]}`.
    #[serde(rename = "as", default)]
    shape: Shape,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Shape {
    #[default]
    Object,
    List,
}

impl Endpoints {
    /// Takes the endpoints of a plan.
    ///
    /// # Errors
    /// When two paths cannot be told apart, or one is no path.
    pub(crate) fn new(plans: &IndexMap<String, EndpointPlan>) -> Result<Self, EndpointError> {
        let mut matcher = matchit::Router::new();
        for (index, path) in plans.keys().enumerate() {
            matcher
                .insert(path, index)
                .map_err(|error| EndpointError { path: path.clone(), why: error.to_string() })?;
        }
        let plans = plans.iter();
        let plans = plans.map(|(path, plan)| (path.clone(), plan.clone(), Latest::default()));
        Ok(Self { matcher, plans: plans.collect() })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &EndpointPlan)> {
        self.plans.iter().map(|(path, plan, _)| (path.as_str(), plan))
    }

    fn find(&self, path: &str) -> Option<Found<'_>> {
        let found = self.matcher.at(path).ok()?;
        let (path, plan, latest) = self.plans.get(*found.value)?;
        let params = found.params.iter().map(|(name, value)| (name.into(), value.into())).collect();
        Some(Found { path, plan, latest, params })
    }
}

/// An endpoint that a path means.
struct Found<'a> {
    path: &'a str,
    plan: &'a EndpointPlan,
    latest: &'a Latest,
    /// Not decoded yet.
    params: BTreeMap<String, String>,
}

/// Answers every path that nobody else knows.
pub(crate) async fn fallback(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    dispatch(&shared, request).await.unwrap_or_else(|error| error.into_response_at(&path))
}

async fn dispatch(shared: &Arc<Shared>, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    if path.starts_with("/api/") {
        return Err(ApiError::UnknownRoute { path: path.into() });
    }
    let endpoint = shared.endpoints.find(path);
    let reads = parts.method == Method::GET || parts.method == Method::HEAD;
    if let Some(found) = endpoint.as_ref().filter(|_| reads) {
        let mut response = answer(shared, found, &parts).await?;
        response.extensions_mut().insert(RouteLabel::endpoint(found.path));
        return Ok(response);
    }
    match shared.context.routes.find(parts.method.as_str(), path) {
        RouteMatch::Found { handler, params } => {
            let mut response = hand_over(handler, params, parts, body).await?;
            response.extensions_mut().insert(RouteLabel::source());
            Ok(response)
        }
        RouteMatch::OtherMethods(allowed) => Err(other_method(&parts, allowed, endpoint.is_some())),
        RouteMatch::Unknown if endpoint.is_some() => Err(other_method(&parts, Vec::new(), true)),
        RouteMatch::Unknown => Err(ApiError::UnknownRoute { path: path.into() }),
    }
}

fn other_method(parts: &Parts, mut allowed: Vec<String>, endpoint: bool) -> ApiError {
    if endpoint {
        allowed.extend(["GET".to_owned(), "HEAD".to_owned()]);
        allowed.sort();
        allowed.dedup();
    }
    let (method, path) = (parts.method.to_string(), parts.uri.path().into());
    ApiError::MethodNotAllowed { method, path, allowed }
}

/// Gives a request to a source's route.
async fn hand_over(
    handler: Arc<dyn RouteHandler>,
    params: BTreeMap<String, String>,
    parts: Parts,
    body: ResponseBody,
) -> Result<Response, ApiError> {
    let params = decoded(&params)?;
    let query = extract::query::<Vec<(String, String)>>(&parts.uri)?;
    let (method, path) = (parts.method.to_string(), parts.uri.path().to_owned());
    let headers = lower_case(&parts.headers);
    let Body(body) = Body::from_request(Request::from_parts(parts, body), &()).await?;
    let request = RouteRequest { method, path, params, query, headers, body };
    let answer = handler.handle(request).await;
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = HeaderValue::from_static(answer.content_type);
    Ok((status, [(header::CONTENT_TYPE, content_type)], answer.body).into_response())
}

fn lower_case(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

fn decoded(params: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, ApiError> {
    params.iter().map(|(name, value)| Ok((name.clone(), extract::decode_segment(value)?))).collect()
}

async fn answer(
    shared: &Arc<Shared>,
    found: &Found<'_>,
    parts: &Parts,
) -> Result<Response, ApiError> {
    let params = decoded(&found.params)?;
    let param = |name: &str| params.get(name).map_or("", String::as_str);
    match found.plan {
        EndpointPlan::HistoryList { collection, filter, sort, limit } => {
            let all = List { collection, filter, sort, limit: *limit };
            if extract::wants_events(&parts.headers) {
                all.follow(shared, parts).await
            } else {
                all.answer(shared, parts).await
            }
        }
        EndpointPlan::HistoryDocument { collection, parameter } => {
            no_query(parts)?;
            let document = find::document(shared.history(), collection, param(parameter)).await?;
            Ok(Json(document).into_response())
        }
        EndpointPlan::View(plan) => {
            no_query(parts)?;
            let parts = plan.parameters.iter().map(|name| param(name).to_owned()).collect();
            let latest = Arc::clone(found.latest);
            ViewEndpoint { plan: plan.clone(), parts, latest }.answer(shared).await
        }
        EndpointPlan::Cache { table, key, field: Some(field) } => {
            no_query(parts)?;
            let value = cached::field(shared.cache(), table, param(key), param(field)).await?;
            Ok(Json(value).into_response())
        }
        EndpointPlan::Cache { table, key, field: None } => {
            let query: CacheQuery = extract::query(&parts.uri)?;
            let held = cached::held(shared.cache(), table, param(key)).await?;
            Ok(match (held, query.shape) {
                (Held::Value(value), _) => Json(value).into_response(),
                (Held::Fields(fields), Shape::Object) => Json(fields).into_response(),
                (Held::Fields(fields), Shape::List) => {
                    let data: Vec<_> = fields.into_values().collect();
                    Json(json!({ "count": data.len(), "data": data })).into_response()
                }
            })
        }
    }
}

fn no_query(parts: &Parts) -> Result<(), ApiError> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).unwrap_or_default();
    match pairs.first() {
        None => Ok(()),
        Some((name, _)) => Err(ApiError::invalid(format!(
            "query cannot be read: unknown parameter {name:?}; none is taken here"
        ))),
    }
}

/// A list endpoint.
struct List<'a> {
    collection: &'a str,
    filter: &'a Filter,
    sort: &'a [SortKey],
    limit: usize,
}

impl List<'_> {
    fn all(&self) -> FindQuery {
        FindQuery {
            filter: self.filter.clone(),
            sort: self.sort.to_vec(),
            skip: 0,
            limit: self.limit,
        }
    }

    async fn answer(&self, shared: &Shared, parts: &Parts) -> Result<Response, ApiError> {
        let narrowing: Narrowing = extract::query(&parts.uri)?;
        let query = narrowing.apply(self.all(), self.limit)?;
        find::answer(shared.history(), self.collection, &query, narrowing.total).await
    }

    async fn follow(&self, shared: &Arc<Shared>, parts: &Parts) -> Result<Response, ApiError> {
        let asked: FollowQuery = extract::query(&parts.uri)?;
        let narrowing = Narrowing {
            filter: asked.filter,
            sort: asked.sort,
            limit: asked.snapshot,
            ..Narrowing::default()
        };
        let query = narrowing.apply(self.all(), self.limit)?;
        let watch = Watch {
            collection: self.collection.into(),
            filter: query.filter.clone(),
            from: WatchFrom::Now,
            snapshot: asked.snapshot.map(|_| query),
        };
        changes::open(shared, watch, extract::last_event_id(&parts.headers)).await
    }
}

"""The gRPC edge of gold (LRN-2 to LRN-7): propose, label, advance, replay, trace."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from selene.artifacts.v1.artifacts_pb2 import ArtifactRow
from selene.common.v1 import error_reason_pb2 as reasons
from selene.common.v1 import paging_pb2
from selene.common.v1.scope_pb2 import SCOPE_TYPE_GLOBAL, SCOPE_TYPE_TENANT, Scope
from selene.gold.v1.evidence_pb2 import GoldCandidate, GoldItem, LabelledItem, RouteOutcome, SealedItem
from selene.gold.v1.gold_pb2 import (
    GOLD_DOMAIN_PAE_ROUTE,
    GOLD_STATE_CANDIDATE,
    GOLD_STATE_GOLD_APPROVED,
    GOLD_STATE_PACKAGED,
    GoldSet,
    GoldState,
    GoldTransition,
)
from selene.learning.v1 import service_pb2 as messages
from selene.learning.v1 import service_pb2_grpc as learning_grpc
from selene.learning.v1.domain_pb2 import LearningDomain, LineageEdge

from servers.learning.domains import DOMAINS, Domain, lacking
from servers.learning.evidence import Cause, problem_of_item, problem_of_label
from servers.learning.golding import (
    AUDITED,
    BASELINE,
    GOLD_WRITER,
    LABELLED_IN,
    REFUSED,
    Golded,
    Known,
    Pack,
    Packaging,
    assessment_of,
    baseline_row,
    content_of,
    golded,
    guard_of,
    pack_row,
    packaged,
    person,
    reason_code,
)
from servers.learning.identity import Frame, canonical_items, read_payload
from servers.learning.machine import Guard, Step, step
from servers.learning.matrix import POLICY_VERSION, ROWS
from servers.learning.packs import routed_types
from servers.learning.recorded import call_of, measured, outcomes
from servers.pack_formats import THRESHOLD_PACK
from servers.runtime.auth import ROLE_OPERATOR, ROLE_SERVICE, Principal, require_role, require_tenant
from servers.runtime.clock import Clock
from servers.runtime.errors import FieldViolation, Refusal
from servers.runtime.ids import Ids
from servers.runtime.paging import PageTokens, page_size, page_token_invalid
from servers.runtime.storage import actor, not_found, once, refusing_store_errors, turn
from store import AuditFilter, Conflict, KeyDestroyed, NotFound, Rooms, Store, Transaction, audit_trail, request_hash
from store.gold import Candidate, Edge, artifact_ref, gold_ref

ROLE_REVIEWER: Final = "reviewer"
_SETS: Final = PageTokens("gold-sets")
_ITEMS: Final = PageTokens("gold-items")
_LINEAGE: Final = PageTokens("lineage")
_RFC_3339: Final = "%Y-%m-%dT%H:%M:%SZ"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DEPTH_DIGITS: Final = 9
ROUTING_PROFILE: Final = "PROVIDER_ROUTING_PROFILE_V1"
"""By which calls are routed where no pack says otherwise."""
_ATTEMPTS: Final = 5
"""How often a transition is worked out anew because evidence came while it was."""


class GoldV1(learning_grpc.GoldServiceServicer):
    """selene.learning.v1.GoldService."""

    def __init__(self, store: Store, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids

    async def ListDomains(self, request: messages.ListDomainsRequest, context: Any) -> messages.ListDomainsResponse:
        found = [_domain(one) for one in DOMAINS]
        return messages.ListDomainsResponse(
            domains=[one for one in found if one.lacking or not request.only_incomplete]
        )

    async def ProposeGoldSet(
        self, request: messages.ProposeGoldSetRequest, context: Any
    ) -> messages.ProposeGoldSetResponse:
        caller = _maker(request.tenant_id)
        scope = _scope(request.scope, caller)

        async def propose(tx: Transaction) -> messages.ProposeGoldSetResponse:
            await self._consented(tx, request)
            candidate = GoldCandidate(
                gold_set_id=self._ids.new(),
                domain=request.domain,
                tier=request.tier,
                tenant_id=request.tenant_id,
                scope=scope,
                proposed_by=person(caller.tenant_id, caller.subject),
                policy_version=POLICY_VERSION,
            )
            made = await tx.gold.propose(candidate, request.signal_ids)
            await _note(tx, caller, made.message, "gold.proposed", "OK", {"signals": str(made.message.signal_count)})
            return messages.ProposeGoldSetResponse(candidate=made.message)

        return await once(
            self._store,
            tenant_id=caller.tenant_id,
            method="ProposeGoldSet",
            key=request.idempotency_key,
            content=request_hash(
                int(request.domain),
                int(request.tier),
                int(scope.scope_type),
                scope.scope_id,
                frozenset(request.signal_ids),
            ),
            reply=messages.ProposeGoldSetResponse,
            work=propose,
        )

    async def _consented(self, tx: Transaction, request: messages.ProposeGoldSetRequest) -> None:
        """Refusal: RESOURCE_NOT_FOUND, CONSENT_REQUIRED."""
        signals = await tx.learning.signals.by_ids(request.tenant_id, request.signal_ids)
        for signal_id in request.signal_ids:
            if signal_id not in signals:
                raise not_found("signal", signal_id)
        ended = await tx.governance.consents.any_ended(request.tenant_id, request.signal_ids, self._clock.now())
        if ended or not all(one.signal.consent_asserted for one in signals.values()):
            raise Refusal(
                reasons.ERROR_REASON_CONSENT_REQUIRED, "a user whose signal it is does not consent to be learned from"
            )

    async def AddItems(self, request: messages.AddItemsRequest, context: Any) -> messages.AddItemsResponse:
        caller = _maker(request.tenant_id)
        with refusing_store_errors():
            async with self._store.transaction() as tx:
                candidate = await _locked(tx, request.tenant_id, request.gold_set_id)
                _in(candidate, frozenset({GOLD_STATE_CANDIDATE}))
                ids = frozenset(await tx.gold.signal_ids(request.tenant_id, request.gold_set_id))
                for item in request.items:
                    problem = problem_of_item(candidate.domain, item, ids)
                    if problem is not None:
                        raise _invalid(item.item_id, problem.cause)
                items = await _measured(tx, request.tenant_id, request.items)
                with _refusing_erased(candidate):
                    added = await tx.gold.add_items(request.tenant_id, request.gold_set_id, items)
                if added.contradicted:
                    raise _contradicted(added.contradicted)
                if added.new:
                    await _note(tx, caller, candidate, "gold.items_added", "OK", {"items": str(added.new)})
        return messages.AddItemsResponse(item_count=candidate.item_count + added.new)

    async def LabelItems(self, request: messages.LabelItemsRequest, context: Any) -> messages.LabelItemsResponse:
        require_role(ROLE_REVIEWER)
        caller = require_tenant(request.tenant_id)
        labeller = person(caller.tenant_id, caller.subject)
        which = (request.tenant_id, request.gold_set_id)
        with refusing_store_errors():
            async with self._store.transaction() as tx:
                candidate = await _locked(tx, *which)
                if candidate.proposed_by == labeller:
                    raise Refusal(
                        reasons.ERROR_REASON_OWN_WORK_REFUSED, "nobody labels what they proposed", cause="PROPOSER"
                    )
                _in(candidate, LABELLED_IN)
                items = await tx.gold.items_of(*which, [label.item_id for label in request.labels])
                for label in request.labels:
                    if label.item_id not in items:
                        raise not_found("item", label.item_id)
                    problem = problem_of_label(items[label.item_id], label)
                    if problem is not None:
                        raise _invalid(label.item_id, problem.cause)
                with _refusing_erased(candidate):
                    added = await tx.gold.label(*which, labeller, request.labels, self._clock.now())
                if added.contradicted:
                    raise _contradicted(added.contradicted)
                if added.new:
                    await _note(tx, caller, candidate, "gold.labelled", "OK", {"labels": str(added.new)})
        return messages.LabelItemsResponse(label_count=candidate.label_count + added.new)

    async def AdvanceGoldSet(
        self, request: messages.AdvanceGoldSetRequest, context: Any
    ) -> messages.AdvanceGoldSetResponse:
        caller = _maker(request.tenant_id)
        with refusing_store_errors():
            for _ in range(_ATTEMPTS):
                standing, known = await self._known(request.tenant_id, request.gold_set_id)
                worked = await asyncio.to_thread(_worked_out, known, request.to_state)
                if request.to_state == GOLD_STATE_PACKAGED and _may_package(known):
                    worked = await self._packaged(known, worked)
                try:
                    reply = await self._apply(caller, standing, worked)
                except (Conflict, KeyDestroyed):
                    continue  # another set of this line was registered meanwhile, or what it is made of was erased
                if reply is not None:
                    return reply
        raise Refusal(
            reasons.ERROR_REASON_STORE_UNAVAILABLE,
            "evidence keeps coming while it is assessed; try again",
            cause="STORE_LOCKED",
        )

    async def GetGoldSet(self, request: messages.GetGoldSetRequest, context: Any) -> messages.GetGoldSetResponse:
        _reader(request.tenant_id)
        which = (request.tenant_id, request.gold_set_id)
        with refusing_store_errors():
            standing, known = await self._known(*which)
            gold_set = await self._store.gold.gold_set(*which)
            history = await self._store.gold.history(*which)
        assessment = await asyncio.to_thread(assessment_of, known)
        return messages.GetGoldSetResponse(
            candidate=standing.message, assessment=assessment, gold_set=gold_set, history=history
        )

    async def ListGoldSets(self, request: messages.ListGoldSetsRequest, context: Any) -> messages.ListGoldSetsResponse:
        _reader(request.tenant_id)
        size = page_size(request.page)
        before = _place(_SETS.after(request.page))
        with refusing_store_errors():
            rows = await self._store.gold.page(
                request.tenant_id, limit=size + 1, state=request.state, domain=request.domain, before=before
            )
        following = ""
        if len(rows) > size:
            last = rows[size - 1]
            following = _SETS.token(f"{last.proposed_at.ToMicroseconds()} {last.gold_set_id}")
        return messages.ListGoldSetsResponse(
            candidates=rows[:size], page=paging_pb2.PageInfo(next_page_token=following)
        )

    async def ListItems(self, request: messages.ListItemsRequest, context: Any) -> messages.ListItemsResponse:
        _reader(request.tenant_id)
        which = (request.tenant_id, request.gold_set_id)
        size, after = page_size(request.page), _ITEMS.after(request.page)
        with refusing_store_errors():
            await self._get(*which)
            gold_set = await self._store.gold.gold_set(*which)
            if gold_set is None:
                rows: Sequence[LabelledItem] = await self._store.gold.items(*which, after=after, limit=size + 1)
            else:
                rows = await self._replayed(gold_set, after, size + 1)
        following = _ITEMS.token(rows[size - 1].item.item_id) if len(rows) > size else ""
        return messages.ListItemsResponse(items=rows[:size], page=paging_pb2.PageInfo(next_page_token=following))

    async def ListLineage(self, request: messages.ListLineageRequest, context: Any) -> messages.ListLineageResponse:
        _reader(request.tenant_id)
        size = page_size(request.page)
        after = _edge(_LINEAGE.after(request.page))
        with refusing_store_errors():
            if not await self._exists(request.tenant_id, request.ref):
                kind, _, name = request.ref.partition(":")
                raise not_found(kind, name)
            edges = await self._store.gold.lineage.edges(
                request.tenant_id, request.ref, descendants=request.descendants, after=after, limit=size + 1
            )
        following = ""
        if len(edges) > size:
            last = edges[size - 1]
            following = _LINEAGE.token(f"{last.depth}\n{last.ancestor_ref}\n{last.descendant_ref}")
        return messages.ListLineageResponse(
            edges=[
                LineageEdge(ancestor_ref=one.ancestor_ref, descendant_ref=one.descendant_ref, depth=one.depth)
                for one in edges[:size]
            ],
            page=paging_pb2.PageInfo(next_page_token=following),
        )

    async def _exists(self, tenant_id: str, ref: str) -> bool:
        kind, _, name = ref.partition(":")
        if await self._store.gold.lineage.knows(tenant_id, ref):
            return True
        if kind == "signal":
            return bool(await self._store.learning.signals.by_ids(tenant_id, [name]))
        return kind == "artifact" and await self._store.gold.artifact(tenant_id, name) is not None

    async def _replayed(self, gold_set: GoldSet, after: str, limit: int) -> list[LabelledItem]:
        """From the bytes that were approved, not from what they were made of."""
        payload = await self._store.artifacts.payload(gold_set.package_hash)
        _, frames = await asyncio.to_thread(read_payload, payload)
        items = await self._opened(gold_set.tenant_id, frames)
        return [one for one in items if one.item.item_id > after][:limit]

    async def _opened(self, tenant_id: str, frames: Sequence[Frame]) -> list[LabelledItem]:
        """The items of a payload; of those that were erased, what is left."""
        opened = iter(await self._store.gold.opened(tenant_id, [one for one in frames if isinstance(one, SealedItem)]))
        return [next(opened) if isinstance(one, SealedItem) else one for one in frames]

    async def _get(self, tenant_id: str, gold_set_id: str) -> Candidate:
        """Refusal: RESOURCE_NOT_FOUND."""
        standing = await self._store.gold.get(tenant_id, gold_set_id)
        if standing is None:
            raise not_found("gold set", gold_set_id)
        return standing

    async def _known(self, tenant_id: str, gold_set_id: str) -> tuple[Candidate, Known]:
        """The candidate, and everything about it at its revision or later. Refusal: RESOURCE_NOT_FOUND."""
        standing = await self._get(tenant_id, gold_set_id)
        now = self._clock.now()

        async def read(rooms: Rooms) -> Known:
            ids = await rooms.gold.signal_ids(tenant_id, gold_set_id)
            # What was erased is no evidence any more.
            items = [one for one in await rooms.gold.items(tenant_id, gold_set_id) if not one.erased]
            return Known(
                candidate=standing.message,
                signal_ids=ids,
                signals=await rooms.learning.signals.by_ids(tenant_id, ids),
                items=items,
                consent_ended=await rooms.governance.consents.any_ended(tenant_id, ids, now),
                rollback_pointer_present=await _returns_somewhere(rooms, standing.message, items),
            )

        return standing, await self._store.together(read)

    async def _packaged(self, known: Known, worked: Worked) -> Worked:
        """What packaging comes to, and whether it opens the way to PACKAGED."""
        candidate = known.candidate
        gold_set = await self._store.gold.gold_set(candidate.tenant_id, candidate.gold_set_id)
        if gold_set is None:
            return worked
        _, frames = read_payload(await self._store.artifacts.payload(gold_set.package_hash))
        content = await self._opened(candidate.tenant_id, frames)
        if any(one.erased for one in content):
            return worked
        base = await self._base(gold_set)
        commitments = await self._commitments(candidate.tenant_id, content)
        now = self._clock.now().strftime(_RFC_3339)
        built = await asyncio.to_thread(packaged, gold_set, content, base, now, commitments)
        guard = replace(worked.guard, packaging_valid=bool(built.packs))
        return replace(
            worked,
            guard=guard,
            step=step(candidate.state, GOLD_STATE_PACKAGED, guard),
            gold_set=gold_set,
            packaging=built,
        )

    async def _commitments(self, tenant_id: str, content: Sequence[LabelledItem]) -> dict[str, bytes]:
        """What stands for the users of trials in packs, as in the trail; who was erased has nothing."""
        trials = [each.item.trial for each in content if each.item.HasField("trial")]
        users = {user_id for trial in trials for user_id in (trial.enrolled_ref, trial.test_ref)}
        keys = await self._store.vault.keys(tenant_id, users)
        return {user_id: key.commitment(b"user") for user_id, key in keys.items()}

    async def _base(self, gold_set: GoldSet) -> bytes:
        """The threshold pack that is in force where the set applies: its own, the tenant's, the deployment's.

        One that was revoked is on its way out, and nothing is built on it.
        """
        own = (gold_set.scope.scope_type, gold_set.scope.scope_id)
        pointers = await self._store.artifacts.pointers(THRESHOLD_PACK, gold_set.tenant_id)
        by_scope = {(one.scope.scope_type, one.scope.scope_id): one for one in pointers}
        for scope in (own, (SCOPE_TYPE_TENANT, gold_set.tenant_id), (SCOPE_TYPE_GLOBAL, "")):
            if scope in by_scope:
                content = by_scope[scope].active_package_hash
                if not await _is_revoked(self._store, gold_set.tenant_id, THRESHOLD_PACK, content):
                    return await self._store.artifacts.payload(content)
        return b""

    async def _apply(
        self, caller: Principal, standing: Candidate, worked: Worked
    ) -> messages.AdvanceGoldSetResponse | None:
        """The transition, what it builds, and its audit row. None where the candidate changed meanwhile. Conflict."""
        candidate = standing.message
        async with self._store.transaction() as tx:
            if worked.content is not None or worked.packaging is not None:
                # A revocation that walks lineage waits until what is built here is linked.
                await tx.governance.rollouts.one_at_a_time(candidate.tenant_id)
            present = await tx.gold.locked(candidate.tenant_id, candidate.gold_set_id)
            if present is None or present.revision != standing.revision:
                return None
            who = await actor(tx, caller)
            transition = GoldTransition(
                gold_set_id=candidate.gold_set_id,
                from_state=candidate.state,
                to_state=worked.to_state,
                applied=worked.step.applied,
                reason_code=worked.step.reason_code,
                occurred_at=self._clock.now(),
                actor=who,
            )
            reply = messages.AdvanceGoldSetResponse(transition=transition, candidate=candidate)
            facts = {"from": _name(candidate.state), "to": _name(worked.to_state), **worked.facts}
            why = reason_code(worked.step.reason_code)
            if not worked.step.applied:
                await _note(tx, caller, candidate, REFUSED, why, facts)
                return reply
            if worked.content is not None:
                facts["gold_set"] = await self._register_set(tx, worked.known, worked.content)
            if worked.packaging is not None and worked.gold_set is not None:
                reply.packs.extend(await _register_packs(tx, worked.gold_set, worked.packaging))
                facts["packs"] = ",".join(f"{row.artifact_type}@{row.artifact_version}" for row in reply.packs)
            moved = await tx.gold.move(candidate.tenant_id, transition)
            reply.candidate.CopyFrom(moved.message)
            await _note(tx, caller, candidate, AUDITED[worked.to_state], why, facts)
            return reply

    async def _register_set(self, tx: Transaction, known: Known, content: Sequence[LabelledItem]) -> str:
        """Keep the immutable set; its `artifact_type@version`."""
        candidate = known.candidate
        line = (ROWS[candidate.domain].artifact_type, candidate.tenant_id, candidate.scope)
        sealed = await tx.gold.seal_payload(candidate.tenant_id, canonical_items(content))
        made: Golded = golded(known, content, sealed, len(await tx.artifacts.versions(*line)) + 1)
        row = await tx.artifacts.register(made.row, made.payload)
        made.gold_set.payload_ref = row.payload_ref
        made.gold_set.created_at.CopyFrom(row.created_at)
        await tx.gold.keep_set(made.gold_set)
        ref = gold_ref(candidate.gold_set_id)
        await tx.gold.lineage.link(candidate.tenant_id, [ref], artifact_ref(row.artifact_id))
        return f"{row.artifact_type}@{row.artifact_version}"


@dataclass(frozen=True, slots=True)
class Worked:
    """What a transition comes to, worked out before anything is written."""

    known: Known
    to_state: GoldState
    guard: Guard
    step: Step
    content: Sequence[LabelledItem] | None = None
    gold_set: GoldSet | None = None
    packaging: Packaging | None = None

    @property
    def facts(self) -> dict[str, str]:
        """What the trail tells beside the transition."""
        if self.packaging is None:
            return {}
        told = {"orphans": ",".join(self.packaging.orphans), "failed": self.packaging.failed}
        return {name: value for name, value in told.items() if value}


def _worked_out(known: Known, to_state: GoldState) -> Worked:
    guard = guard_of(known, to_state)
    outcome = step(known.candidate.state, to_state, guard)
    golding = outcome.applied and to_state == GOLD_STATE_GOLD_APPROVED
    return Worked(known, to_state, guard, outcome, content_of(known) if golding else None)


def _may_package(known: Known) -> bool:
    return known.candidate.state == GOLD_STATE_GOLD_APPROVED and not known.candidate.frozen and not known.consent_ended


async def _register_packs(tx: Transaction, gold_set: GoldSet, packaging: Packaging) -> list[ArtifactRow]:
    """Each pack as the next of its line, and before the first one what it returns to. Conflict.

    A pack comes from its gold set alone: see `packaged`.
    """
    ancestor = await _artifact_of(tx, gold_set)
    rows = []
    for pack in packaging.packs:
        line = (pack.pack_type, gold_set.tenant_id, gold_set.scope)
        versions = len(await tx.artifacts.versions(*line))
        if not versions:
            await _register_baseline(tx, gold_set, pack)
            versions = 1
        row = await tx.artifacts.register(pack_row(pack.pack_type, gold_set, versions + 1), pack.payload)
        await tx.gold.lineage.link(gold_set.tenant_id, [ancestor], artifact_ref(row.artifact_id))
        rows.append(row)
    return rows


async def _register_baseline(tx: Transaction, gold_set: GoldSet, pack: Pack) -> None:
    """Where its content was learned, for another line, it comes from there: a revocation reaches it too (§21).

    Conflict where one has meanwhile.
    """
    learned = await _learned(tx, gold_set.tenant_id, pack.pack_type, sha256(pack.baseline).digest())
    for one in learned:
        if (await tx.governance.cases.locked(one.tenant_id, one.artifact_id)).frozen_by:
            raise Conflict(f"{one.artifact_type}@{one.artifact_version} was revoked: nothing returns to it")
    row = await tx.artifacts.register(baseline_row(pack.pack_type, gold_set), pack.baseline)
    origins = [artifact_ref(one.artifact_id) for one in learned]
    await tx.gold.lineage.link(gold_set.tenant_id, origins, artifact_ref(row.artifact_id))


async def _learned(
    rooms: Store | Rooms | Transaction, tenant_id: str, artifact_type: str, package_hash: bytes
) -> list[ArtifactRow]:
    """The tenant's versions that were learned with this content. What a rollback or a baseline made of them is none."""
    found = []
    for row in await rooms.artifacts.of_content(artifact_type, package_hash):
        if row.tenant_id != tenant_id or row.idempotency_key == BASELINE:
            continue
        if await rooms.gold.lineage.closure(tenant_id, [artifact_ref(row.artifact_id)], descendants=False):
            found.append(row)
    return found


async def _is_revoked(rooms: Store | Rooms, tenant_id: str, artifact_type: str, package_hash: bytes) -> bool:
    """Whether a revocation froze what was learned with this content."""
    learned = await _learned(rooms, tenant_id, artifact_type, package_hash)
    cases = [await rooms.governance.cases.get(one.tenant_id, one.artifact_id) for one in learned]
    return any(case.frozen_by for case in cases)


async def _returns_somewhere(rooms: Rooms, candidate: GoldCandidate, items: Sequence[LabelledItem]) -> bool:
    """Whether routes that the set teaches have something to be rolled back to (§16): what routes there now.

    That is the pack that is active for their use, of the set's own scope, of its tenant or of the deployment, or else
    the routing profile (§29). What was revoked, or cannot be read any more, serves nobody. No other domain asks for it.
    """
    if candidate.domain != GOLD_DOMAIN_PAE_ROUTE:
        return False
    if await _resolves(rooms, candidate, ROUTING_PROFILE):
        return True
    pack_types = routed_types(items)
    return bool(pack_types) and all([await _resolves(rooms, candidate, pack_type) for pack_type in pack_types])


async def _resolves(rooms: Rooms, candidate: GoldCandidate, artifact_type: str) -> bool:
    scopes = (candidate.scope, Scope(scope_type=SCOPE_TYPE_TENANT, scope_id=candidate.tenant_id))
    chain = {(one.scope_type, one.scope_id) for one in (*scopes, Scope(scope_type=SCOPE_TYPE_GLOBAL))}
    for pointer in await rooms.artifacts.pointers(artifact_type, candidate.tenant_id):
        if (pointer.scope.scope_type, pointer.scope.scope_id) not in chain:
            continue
        content = pointer.active_package_hash
        if await _is_readable(rooms, content) and not await _is_revoked(
            rooms, candidate.tenant_id, artifact_type, content
        ):
            return True
    return False


async def _is_readable(rooms: Rooms, package_hash: bytes) -> bool:
    try:
        await rooms.artifacts.payload(package_hash)
    except NotFound:
        return False
    return True


async def _artifact_of(tx: Transaction, gold_set: GoldSet) -> str:
    row = await tx.artifacts.version(gold_set.artifact_type, gold_set.tenant_id, gold_set.scope, gold_set.version)
    return artifact_ref(row.artifact_id)


async def _measured(tx: Transaction, tenant_id: str, items: Sequence[GoldItem]) -> Sequence[GoldItem]:
    """The items as they are kept: what routes gave is the trail's word. Refusal: EVIDENCE_INVALID."""
    about = {item.signal_id for item in items if item.HasField("route")}
    if not about:
        return items
    signals = await tx.learning.signals.by_ids(tenant_id, sorted(about))
    audit, given = audit_trail(tx), dict[str, dict[str, RouteOutcome]]()
    for signal_id, captured in signals.items():
        only = AuditFilter(correlation_id=captured.signal.correlation_id)
        request_id = call_of(captured.signal)
        if request_id:
            events = [chained.event async for chained in audit.stream(tenant_id, only=only)]
            given[signal_id] = outcomes(events, request_id)
    kept = []
    for item in items:
        made = measured(item, given.get(item.signal_id, {}))
        if made is None:
            raise _invalid(item.item_id, Cause.ROUTE_NOT_RECORDED)
        kept.append(made)
    return kept


def _maker(tenant_id: str) -> Principal:
    require_role(ROLE_SERVICE, ROLE_OPERATOR)
    return require_tenant(tenant_id)


def _reader(tenant_id: str) -> Principal:
    require_role(ROLE_SERVICE, ROLE_OPERATOR, ROLE_REVIEWER)
    return require_tenant(tenant_id)


def _scope(scope: Scope, caller: Principal) -> Scope:
    """What a tenant may teach: itself and what is within it; everyone only by signals that allow it. Refusal."""
    if scope.scope_type == SCOPE_TYPE_TENANT and scope.scope_id != caller.tenant_id:
        raise Refusal(reasons.ERROR_REASON_TENANT_MISMATCH, "the scope is another tenant's")
    if (scope.scope_type == SCOPE_TYPE_GLOBAL) is bool(scope.scope_id):
        told = "must be empty for GLOBAL, and name what it is for anything else"
        raise Refusal.of_fields([FieldViolation("scope.scope_id", "scope.id", told)])
    return scope


async def _locked(tx: Transaction, tenant_id: str, gold_set_id: str) -> GoldCandidate:
    """Refusal: RESOURCE_NOT_FOUND."""
    standing = await tx.gold.locked(tenant_id, gold_set_id)
    if standing is None:
        raise not_found("gold set", gold_set_id)
    return standing.message


def _in(candidate: GoldCandidate, states: frozenset[GoldState]) -> None:
    """Refusal: GOLD_STATE_REFUSED."""
    if candidate.state not in states or candidate.frozen:
        raise _state_refused(candidate, frozen=candidate.frozen)


def _state_refused(candidate: GoldCandidate, *, frozen: bool) -> Refusal:
    return Refusal(
        reasons.ERROR_REASON_GOLD_STATE_REFUSED,
        "where the gold set stands does not allow it",
        state=_name(candidate.state),
        frozen=str(frozen).lower(),
    )


@contextmanager
def _refusing_erased(candidate: GoldCandidate) -> Iterator[None]:
    """GOLD_STATE_REFUSED for evidence of a signal that was erased: its revocation freezes every set of it."""
    try:
        yield
    except KeyDestroyed:
        raise _state_refused(candidate, frozen=True) from None


def _invalid(item_id: str, cause: str) -> Refusal:
    return Refusal(
        reasons.ERROR_REASON_EVIDENCE_INVALID, "it is not what its domain asks for", item_id=item_id, cause=cause
    )


def _contradicted(item_ids: Sequence[str]) -> Refusal:
    return Refusal(
        reasons.ERROR_REASON_EVIDENCE_CONTRADICTED, "it is there already and says something else", item_id=item_ids[0]
    )


async def _note(
    tx: Transaction, caller: Principal, candidate: GoldCandidate, transition: str, why: str, facts: dict[str, str]
) -> None:
    tx.audit(
        tenant_id=candidate.tenant_id,
        owner=GOLD_WRITER,
        actor=await actor(tx, caller),
        transition=transition,
        reason_code=why,
        scope=candidate.scope,
        turn=turn(),
        facts={"gold_set_id": candidate.gold_set_id, **facts},
    )


def _domain(one: Domain) -> LearningDomain:
    return LearningDomain(
        domain=one.domain,
        gold_unit=one.gold_unit,
        capture_fields=one.capture_fields,
        storage=one.storage,
        producers=one.producers,
        packaging_owners=one.packaging_owners,
        approval_path=one.approval_path,
        consumers=one.consumers,
        pack_types=one.pack_types,
        primary_kpi=one.primary_kpi,
        rollback_rule=one.rollback_rule,
        lacking=lacking(one),
    )


def _name(state: GoldState) -> str:
    return GoldState.Name(state).removeprefix("GOLD_STATE_")


def _place(token: str) -> tuple[datetime, str] | None:
    """Refusal: PAGE_TOKEN_INVALID."""
    if not token:
        return None
    micros, _, gold_set_id = token.partition(" ")
    try:
        return _EPOCH + timedelta(microseconds=int(micros)), gold_set_id
    except (ValueError, OverflowError):
        raise page_token_invalid() from None


def _edge(token: str) -> Edge | None:
    """Refusal: PAGE_TOKEN_INVALID."""
    if not token:
        return None
    parts = token.split("\n")
    if len(parts) != len(Edge.__slots__) or not parts[0].isdecimal() or len(parts[0]) > _DEPTH_DIGITS:
        raise page_token_invalid()
    return Edge(int(parts[0]), parts[1], parts[2])

CREATE SCHEMA kernel_upgrade;
CREATE TABLE kernel_upgrade.books (
    id text NOT NULL,
    title text NOT NULL,
    pages integer DEFAULT 7,
    created_at text COLLATE pg_catalog."C",
    updated_at text COLLATE pg_catalog."C",
    created_by text COLLATE pg_catalog."C",
    updated_by text COLLATE pg_catalog."C",
    deleted_at text COLLATE pg_catalog."C",
    _version bigint,
    isbn text COLLATE pg_catalog."C"
);
CREATE TABLE kernel_upgrade.books_history (
    id text NOT NULL,
    title text,
    pages integer,
    created_at text COLLATE pg_catalog."C",
    updated_at text COLLATE pg_catalog."C",
    created_by text COLLATE pg_catalog."C",
    updated_by text COLLATE pg_catalog."C",
    deleted_at text COLLATE pg_catalog."C",
    _version bigint NOT NULL,
    _action text COLLATE pg_catalog."C",
    _at text COLLATE pg_catalog."C",
    _actor text COLLATE pg_catalog."C",
    _comment text COLLATE pg_catalog."C",
    isbn text COLLATE pg_catalog."C"
);
CREATE TABLE kernel_upgrade.everything (
    id text NOT NULL COLLATE pg_catalog."C",
    text text COLLATE pg_catalog."C",
    empty text COLLATE pg_catalog."C",
    whole bigint,
    large numeric,
    "real" double precision,
    tiny double precision,
    yes boolean,
    price numeric,
    tags jsonb,
    settings jsonb,
    seen_at timestamp with time zone,
    begins_at timestamp with time zone,
    local_at timestamp with time zone,
    born date,
    raw bytea,
    key text COLLATE pg_catalog."C",
    created_at text COLLATE pg_catalog."C",
    updated_at text COLLATE pg_catalog."C",
    created_by text COLLATE pg_catalog."C",
    updated_by text COLLATE pg_catalog."C",
    deleted_at text COLLATE pg_catalog."C",
    _version bigint
);
CREATE TABLE kernel_upgrade.everything_history (
    id text NOT NULL COLLATE pg_catalog."C",
    text text COLLATE pg_catalog."C",
    empty text COLLATE pg_catalog."C",
    whole bigint,
    large numeric,
    "real" double precision,
    tiny double precision,
    yes boolean,
    price numeric,
    tags jsonb,
    settings jsonb,
    seen_at timestamp with time zone,
    begins_at timestamp with time zone,
    local_at timestamp with time zone,
    born date,
    raw bytea,
    key text COLLATE pg_catalog."C",
    created_at text COLLATE pg_catalog."C",
    updated_at text COLLATE pg_catalog."C",
    created_by text COLLATE pg_catalog."C",
    updated_by text COLLATE pg_catalog."C",
    deleted_at text COLLATE pg_catalog."C",
    _version bigint NOT NULL,
    _action text COLLATE pg_catalog."C",
    _at text COLLATE pg_catalog."C",
    _actor text COLLATE pg_catalog."C",
    _comment text COLLATE pg_catalog."C"
);
CREATE TABLE kernel_upgrade.gone (
    id text NOT NULL COLLATE pg_catalog."C",
    name text COLLATE pg_catalog."C",
    created_at text COLLATE pg_catalog."C",
    updated_at text COLLATE pg_catalog."C",
    created_by text COLLATE pg_catalog."C",
    updated_by text COLLATE pg_catalog."C",
    deleted_at text COLLATE pg_catalog."C",
    _version bigint
);
CREATE TABLE kernel_upgrade.gone_history (
    id text NOT NULL COLLATE pg_catalog."C",
    name text COLLATE pg_catalog."C",
    created_at text COLLATE pg_catalog."C",
    updated_at text COLLATE pg_catalog."C",
    created_by text COLLATE pg_catalog."C",
    updated_by text COLLATE pg_catalog."C",
    deleted_at text COLLATE pg_catalog."C",
    _version bigint NOT NULL,
    _action text COLLATE pg_catalog."C",
    _at text COLLATE pg_catalog."C",
    _actor text COLLATE pg_catalog."C",
    _comment text COLLATE pg_catalog."C"
);
CREATE TABLE kernel_upgrade.kernel_catalog (
    entity text NOT NULL COLLATE pg_catalog."C",
    field text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL COLLATE pg_catalog."C",
    adopted integer NOT NULL
);
CREATE TABLE kernel_upgrade.kernel_dead_letters (
    id text NOT NULL COLLATE pg_catalog."C",
    topic text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    body text NOT NULL COLLATE pg_catalog."C",
    created_at text NOT NULL COLLATE pg_catalog."C",
    died_at text NOT NULL COLLATE pg_catalog."C",
    attempts bigint NOT NULL,
    reason text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE kernel_upgrade.kernel_inbox (
    id text NOT NULL COLLATE pg_catalog."C",
    received_at text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE kernel_upgrade.kernel_job_handovers (
    seq bigint NOT NULL,
    id text NOT NULL COLLATE pg_catalog."C",
    body text NOT NULL COLLATE pg_catalog."C",
    sent_at double precision NOT NULL
);
ALTER TABLE kernel_upgrade.kernel_job_handovers ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME kernel_upgrade.kernel_job_handovers_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE kernel_upgrade.kernel_job_queues (
    name text NOT NULL COLLATE pg_catalog."C",
    paused integer NOT NULL
);
CREATE TABLE kernel_upgrade.kernel_jobs (
    seq bigint NOT NULL,
    id text NOT NULL COLLATE pg_catalog."C",
    queue text NOT NULL COLLATE pg_catalog."C",
    task text NOT NULL COLLATE pg_catalog."C",
    status text NOT NULL COLLATE pg_catalog."C",
    rank integer NOT NULL,
    due double precision NOT NULL,
    body text NOT NULL COLLATE pg_catalog."C",
    unique_key text COLLATE pg_catalog."C",
    user_id text COLLATE pg_catalog."C",
    workspace_id text COLLATE pg_catalog."C",
    attempts integer DEFAULT 0 NOT NULL,
    max_attempts integer NOT NULL,
    enqueued_at double precision NOT NULL,
    started_at double precision,
    finished_at double precision,
    expires_at double precision,
    token text COLLATE pg_catalog."C",
    worker text COLLATE pg_catalog."C",
    beat integer DEFAULT 0 NOT NULL,
    cancel integer DEFAULT 0 NOT NULL,
    progress double precision DEFAULT 0 NOT NULL,
    progress_text text COLLATE pg_catalog."C",
    result text COLLATE pg_catalog."C",
    error text COLLATE pg_catalog."C"
)
WITH (fillfactor='70', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_cost_delay='0');
ALTER TABLE kernel_upgrade.kernel_jobs ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME kernel_upgrade.kernel_jobs_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE kernel_upgrade.kernel_leases (
    name text NOT NULL COLLATE pg_catalog."C",
    holder text NOT NULL COLLATE pg_catalog."C",
    expires_at timestamp with time zone NOT NULL
);
CREATE TABLE kernel_upgrade.kernel_login_failures (
    id text NOT NULL COLLATE pg_catalog."C",
    account text COLLATE pg_catalog."C",
    network text COLLATE pg_catalog."C",
    at timestamp with time zone,
    created_at text COLLATE pg_catalog."C",
    updated_at text COLLATE pg_catalog."C",
    created_by text COLLATE pg_catalog."C",
    updated_by text COLLATE pg_catalog."C",
    deleted_at text COLLATE pg_catalog."C",
    _version bigint
);
CREATE TABLE kernel_upgrade.kernel_meta (
    key text NOT NULL COLLATE pg_catalog."C",
    value bigint NOT NULL
);
CREATE TABLE kernel_upgrade.kernel_outbox (
    seq bigint NOT NULL,
    id text NOT NULL COLLATE pg_catalog."C",
    topic text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    body text NOT NULL COLLATE pg_catalog."C",
    created_at text NOT NULL COLLATE pg_catalog."C",
    sent_at text COLLATE pg_catalog."C",
    batch bigint,
    attempts bigint DEFAULT 0 NOT NULL
);
ALTER TABLE kernel_upgrade.kernel_outbox ALTER COLUMN seq ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME kernel_upgrade.kernel_outbox_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE kernel_upgrade.kernel_relay (
    name text NOT NULL COLLATE pg_catalog."C",
    value text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE kernel_upgrade.kernel_sessions (
    id text NOT NULL COLLATE pg_catalog."C",
    user_id text COLLATE pg_catalog."C",
    refresh_hash text COLLATE pg_catalog."C",
    generation bigint,
    nonce text COLLATE pg_catalog."C",
    rotated_at timestamp with time zone,
    last_used_at timestamp with time zone,
    expires_at timestamp with time zone,
    revoked_at timestamp with time zone,
    address text COLLATE pg_catalog."C",
    network text COLLATE pg_catalog."C",
    user_agent text COLLATE pg_catalog."C",
    created_at text COLLATE pg_catalog."C",
    updated_at text COLLATE pg_catalog."C",
    created_by text COLLATE pg_catalog."C",
    updated_by text COLLATE pg_catalog."C",
    deleted_at text COLLATE pg_catalog."C",
    _version bigint
);
CREATE TABLE kernel_upgrade.kernel_users (
    id text NOT NULL COLLATE pg_catalog."C",
    email text COLLATE pg_catalog."C",
    username text COLLATE pg_catalog."C",
    name text COLLATE pg_catalog."C",
    role text COLLATE pg_catalog."C",
    is_active boolean,
    password_hash text COLLATE pg_catalog."C",
    password_changed_at timestamp with time zone,
    created_at text COLLATE pg_catalog."C",
    updated_at text COLLATE pg_catalog."C",
    created_by text COLLATE pg_catalog."C",
    updated_by text COLLATE pg_catalog."C",
    deleted_at text COLLATE pg_catalog."C",
    _version bigint
);
CREATE TABLE kernel_upgrade.parts (
    id text NOT NULL COLLATE pg_catalog."C",
    code text COLLATE pg_catalog."C",
    weight double precision,
    created_at text COLLATE pg_catalog."C",
    updated_at text COLLATE pg_catalog."C",
    created_by text COLLATE pg_catalog."C",
    updated_by text COLLATE pg_catalog."C",
    deleted_at text COLLATE pg_catalog."C",
    _version bigint
);
CREATE TABLE kernel_upgrade.parts_history (
    id text NOT NULL COLLATE pg_catalog."C",
    code text COLLATE pg_catalog."C",
    weight double precision,
    created_at text COLLATE pg_catalog."C",
    updated_at text COLLATE pg_catalog."C",
    created_by text COLLATE pg_catalog."C",
    updated_by text COLLATE pg_catalog."C",
    deleted_at text COLLATE pg_catalog."C",
    _version bigint NOT NULL,
    _action text COLLATE pg_catalog."C",
    _at text COLLATE pg_catalog."C",
    _actor text COLLATE pg_catalog."C",
    _comment text COLLATE pg_catalog."C"
);
CREATE TABLE kernel_upgrade.places (
    id text NOT NULL COLLATE pg_catalog."C",
    lat double precision,
    name text COLLATE pg_catalog."C",
    created_at text COLLATE pg_catalog."C",
    updated_at text COLLATE pg_catalog."C",
    created_by text COLLATE pg_catalog."C",
    updated_by text COLLATE pg_catalog."C",
    deleted_at text COLLATE pg_catalog."C",
    _version bigint
);
CREATE TABLE kernel_upgrade.places_history (
    id text NOT NULL COLLATE pg_catalog."C",
    lat double precision,
    name text COLLATE pg_catalog."C",
    created_at text COLLATE pg_catalog."C",
    updated_at text COLLATE pg_catalog."C",
    created_by text COLLATE pg_catalog."C",
    updated_by text COLLATE pg_catalog."C",
    deleted_at text COLLATE pg_catalog."C",
    _version bigint NOT NULL,
    _action text COLLATE pg_catalog."C",
    _at text COLLATE pg_catalog."C",
    _actor text COLLATE pg_catalog."C",
    _comment text COLLATE pg_catalog."C"
);
CREATE TABLE kernel_upgrade.tickets (
    id bigint NOT NULL,
    subject text,
    created_at text COLLATE pg_catalog."C",
    updated_at text COLLATE pg_catalog."C",
    created_by text COLLATE pg_catalog."C",
    updated_by text COLLATE pg_catalog."C",
    deleted_at text COLLATE pg_catalog."C",
    _version bigint
);
CREATE TABLE kernel_upgrade.tickets_history (
    id bigint NOT NULL,
    subject text,
    created_at text COLLATE pg_catalog."C",
    updated_at text COLLATE pg_catalog."C",
    created_by text COLLATE pg_catalog."C",
    updated_by text COLLATE pg_catalog."C",
    deleted_at text COLLATE pg_catalog."C",
    _version bigint NOT NULL,
    _action text COLLATE pg_catalog."C",
    _at text COLLATE pg_catalog."C",
    _actor text COLLATE pg_catalog."C",
    _comment text COLLATE pg_catalog."C"
);
CREATE SEQUENCE kernel_upgrade.tickets_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE kernel_upgrade.tickets_id_seq OWNED BY kernel_upgrade.tickets.id;
CREATE VIEW kernel_upgrade.titles AS
 SELECT books.id,
    books.title
   FROM kernel_upgrade.books;
CREATE TABLE kernel_upgrade.visits (
    id text NOT NULL COLLATE pg_catalog."C",
    at text COLLATE pg_catalog."C",
    created_at text COLLATE pg_catalog."C",
    updated_at text COLLATE pg_catalog."C",
    created_by text COLLATE pg_catalog."C",
    updated_by text COLLATE pg_catalog."C",
    deleted_at text COLLATE pg_catalog."C",
    _version bigint
);
CREATE TABLE kernel_upgrade.visits_history (
    id text NOT NULL COLLATE pg_catalog."C",
    at text COLLATE pg_catalog."C",
    created_at text COLLATE pg_catalog."C",
    updated_at text COLLATE pg_catalog."C",
    created_by text COLLATE pg_catalog."C",
    updated_by text COLLATE pg_catalog."C",
    deleted_at text COLLATE pg_catalog."C",
    _version bigint NOT NULL,
    _action text COLLATE pg_catalog."C",
    _at text COLLATE pg_catalog."C",
    _actor text COLLATE pg_catalog."C",
    _comment text COLLATE pg_catalog."C"
);
CREATE TABLE kernel_upgrade.wide (
    id text NOT NULL COLLATE pg_catalog."C",
    field_0 bigint,
    field_1 bigint,
    field_2 bigint,
    field_3 bigint,
    field_4 bigint,
    field_5 bigint,
    field_6 bigint,
    field_7 bigint,
    field_8 bigint,
    field_9 bigint,
    field_10 bigint,
    field_11 bigint,
    field_12 bigint,
    field_13 bigint,
    field_14 bigint,
    field_15 bigint,
    field_16 bigint,
    field_17 bigint,
    field_18 bigint,
    field_19 bigint,
    created_at text COLLATE pg_catalog."C",
    updated_at text COLLATE pg_catalog."C",
    created_by text COLLATE pg_catalog."C",
    updated_by text COLLATE pg_catalog."C",
    deleted_at text COLLATE pg_catalog."C",
    _version bigint
);
CREATE TABLE kernel_upgrade.wide_history (
    id text NOT NULL COLLATE pg_catalog."C",
    field_0 bigint,
    field_1 bigint,
    field_2 bigint,
    field_3 bigint,
    field_4 bigint,
    field_5 bigint,
    field_6 bigint,
    field_7 bigint,
    field_8 bigint,
    field_9 bigint,
    field_10 bigint,
    field_11 bigint,
    field_12 bigint,
    field_13 bigint,
    field_14 bigint,
    field_15 bigint,
    field_16 bigint,
    field_17 bigint,
    field_18 bigint,
    field_19 bigint,
    created_at text COLLATE pg_catalog."C",
    updated_at text COLLATE pg_catalog."C",
    created_by text COLLATE pg_catalog."C",
    updated_by text COLLATE pg_catalog."C",
    deleted_at text COLLATE pg_catalog."C",
    _version bigint NOT NULL,
    _action text COLLATE pg_catalog."C",
    _at text COLLATE pg_catalog."C",
    _actor text COLLATE pg_catalog."C",
    _comment text COLLATE pg_catalog."C"
);
ALTER TABLE ONLY kernel_upgrade.tickets ALTER COLUMN id SET DEFAULT nextval('kernel_upgrade.tickets_id_seq'::regclass);
INSERT INTO kernel_upgrade.books VALUES ('b2', 'Untouched', 7, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO kernel_upgrade.books VALUES ('b1', 'After', 7, NULL, '2026-11-28T00:39:57.825937Z', NULL, NULL, NULL, 2, '978-3');
INSERT INTO kernel_upgrade.books VALUES ('b3', 'New', 300, '2026-11-28T00:39:57.837309Z', '2026-11-28T00:39:57.837309Z', NULL, NULL, NULL, 1, NULL);
INSERT INTO kernel_upgrade.books_history VALUES ('b1', 'Before', 7, NULL, NULL, NULL, NULL, NULL, 1, 'adopt', '2026-11-28T00:39:57.825937Z', NULL, NULL, NULL);
INSERT INTO kernel_upgrade.books_history VALUES ('b1', 'After', 7, NULL, '2026-11-28T00:39:57.825937Z', NULL, NULL, NULL, 2, 'update', '2026-11-28T00:39:57.825937Z', NULL, 'adopted', '978-3');
INSERT INTO kernel_upgrade.books_history VALUES ('b3', 'New', 300, '2026-11-28T00:39:57.837309Z', '2026-11-28T00:39:57.837309Z', NULL, NULL, NULL, 1, 'create', '2026-11-28T00:39:57.837309Z', NULL, NULL, NULL);
INSERT INTO kernel_upgrade.everything VALUES ('e1', NULL, '', 9223372036854775807, 1606938044258990275541962092341162602522202993782792835301377, 1e+300, 5e-324, true, 1234567890123456789.10, '[]', '{"deep": {"er": {"still": "here"}}, "sizes": [1, 2, 3], "theme": "dark"}', '2026-02-28 23:59:59.999999+00', '0001-01-02 03:04:05+00', '2026-07-01 10:00:00.000005+00', '1999-12-31', '\x', '12345678-1234-5678-1234-567812345678', '2026-11-28T00:39:57.524723Z', '2026-11-28T00:39:57.531430Z', NULL, NULL, NULL, 3);
INSERT INTO kernel_upgrade.everything VALUES ('e2', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-28T00:39:57.536438Z', '2026-11-28T00:39:57.536438Z', NULL, NULL, NULL, 1);
INSERT INTO kernel_upgrade.everything_history VALUES ('e1', 'Grüße, ''quoted'' "twice" \ 100% ☃ 😀
line	tab ', '', -9223372036854775808, 1606938044258990275541962092341162602522202993782792835301377, 0.30000000000000004, 5e-324, true, 1234567890123456789.10, '["a", {"b": [1, 2.5, null, true]}, "ü"]', '{"deep": {"er": {"still": "here"}}, "sizes": [1, 2, 3], "theme": "dark"}', '2026-02-28 23:59:59.999999+00', '0001-01-02 03:04:05+00', '2026-07-01 10:00:00.000005+00', '1999-12-31', '\x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff', '12345678-1234-5678-1234-567812345678', '2026-11-28T00:39:57.524723Z', '2026-11-28T00:39:57.524723Z', NULL, NULL, NULL, 1, 'create', '2026-11-28T00:39:57.524723Z', NULL, 'first');
INSERT INTO kernel_upgrade.everything_history VALUES ('e1', NULL, '', 9223372036854775807, 1606938044258990275541962092341162602522202993782792835301377, 0.30000000000000004, 5e-324, true, 1234567890123456789.10, '["a", {"b": [1, 2.5, null, true]}, "ü"]', '{"deep": {"er": {"still": "here"}}, "sizes": [1, 2, 3], "theme": "dark"}', '2026-02-28 23:59:59.999999+00', '0001-01-02 03:04:05+00', '2026-07-01 10:00:00.000005+00', '1999-12-31', '\x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff', '12345678-1234-5678-1234-567812345678', '2026-11-28T00:39:57.524723Z', '2026-11-28T00:39:57.528827Z', NULL, NULL, NULL, 2, 'update', '2026-11-28T00:39:57.528827Z', NULL, NULL);
INSERT INTO kernel_upgrade.everything_history VALUES ('e1', NULL, '', 9223372036854775807, 1606938044258990275541962092341162602522202993782792835301377, 1e+300, 5e-324, true, 1234567890123456789.10, '[]', '{"deep": {"er": {"still": "here"}}, "sizes": [1, 2, 3], "theme": "dark"}', '2026-02-28 23:59:59.999999+00', '0001-01-02 03:04:05+00', '2026-07-01 10:00:00.000005+00', '1999-12-31', '\x', '12345678-1234-5678-1234-567812345678', '2026-11-28T00:39:57.524723Z', '2026-11-28T00:39:57.531430Z', NULL, NULL, NULL, 3, 'update', '2026-11-28T00:39:57.531430Z', NULL, 'third');
INSERT INTO kernel_upgrade.everything_history VALUES ('e2', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-28T00:39:57.536438Z', '2026-11-28T00:39:57.536438Z', NULL, NULL, NULL, 1, 'create', '2026-11-28T00:39:57.536438Z', NULL, NULL);
INSERT INTO kernel_upgrade.gone VALUES ('g1', 'made again', '2026-11-28T00:39:57.717797Z', '2026-11-28T00:39:57.717797Z', NULL, NULL, NULL, 3);
INSERT INTO kernel_upgrade.gone_history VALUES ('g1', 'purged', '2026-11-28T00:39:57.710982Z', '2026-11-28T00:39:57.710982Z', NULL, NULL, NULL, 1, 'create', '2026-11-28T00:39:57.710982Z', NULL, NULL);
INSERT INTO kernel_upgrade.gone_history VALUES ('g1', 'purged', '2026-11-28T00:39:57.710982Z', '2026-11-28T00:39:57.715032Z', NULL, NULL, NULL, 2, 'purge', '2026-11-28T00:39:57.715032Z', NULL, NULL);
INSERT INTO kernel_upgrade.gone_history VALUES ('g1', 'made again', '2026-11-28T00:39:57.717797Z', '2026-11-28T00:39:57.717797Z', NULL, NULL, NULL, 3, 'create', '2026-11-28T00:39:57.717797Z', NULL, NULL);
INSERT INTO kernel_upgrade.gone_history VALUES ('g3', 'purged for good', '2026-11-28T00:39:57.722131Z', '2026-11-28T00:39:57.722131Z', NULL, NULL, NULL, 1, 'create', '2026-11-28T00:39:57.722131Z', NULL, NULL);
INSERT INTO kernel_upgrade.gone_history VALUES ('g3', 'purged for good', '2026-11-28T00:39:57.722131Z', '2026-11-28T00:39:57.723804Z', NULL, NULL, NULL, 2, 'purge', '2026-11-28T00:39:57.723804Z', NULL, NULL);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('everything', 'id', 'str', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('everything', 'text', 'str', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('everything', 'empty', 'str', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('everything', 'whole', 'int', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('everything', 'large', 'bigint', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('everything', 'real', 'float', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('everything', 'tiny', 'float', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('everything', 'yes', 'bool', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('everything', 'price', 'decimal', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('everything', 'tags', 'json', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('everything', 'settings', 'json', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('everything', 'seen_at', 'datetime', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('everything', 'begins_at', 'datetime', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('everything', 'local_at', 'datetime', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('everything', 'born', 'date', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('everything', 'raw', 'bytes', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('everything', 'key', 'uuid', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('everything', 'nothing', 'unknown', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('parts', 'id', 'str', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('parts', 'code', 'str', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('parts', 'weight', 'float', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('visits', 'id', 'str', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('visits', 'at', 'variant', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('gone', 'id', 'str', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('gone', 'name', 'str', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('wide', 'id', 'str', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('wide', 'field_0', 'int', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('wide', 'field_1', 'int', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('wide', 'field_2', 'int', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('wide', 'field_3', 'int', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('wide', 'field_4', 'int', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('wide', 'field_5', 'int', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('wide', 'field_6', 'int', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('wide', 'field_7', 'int', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('wide', 'field_8', 'int', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('wide', 'field_9', 'int', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('wide', 'field_10', 'int', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('wide', 'field_11', 'int', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('wide', 'field_12', 'int', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('wide', 'field_13', 'int', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('wide', 'field_14', 'int', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('wide', 'field_15', 'int', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('wide', 'field_16', 'int', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('wide', 'field_17', 'int', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('wide', 'field_18', 'int', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('wide', 'field_19', 'int', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('places', 'id', 'str', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('places', 'name', 'str', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('places', 'lat', 'float', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('books', 'isbn', 'str', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('books', 'title', 'str', 1);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('books', 'pages', 'int', 1);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('tickets', 'subject', 'str', 1);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('kernel_users', 'id', 'str', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('kernel_users', 'email', 'str', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('kernel_users', 'username', 'str', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('kernel_users', 'name', 'str', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('kernel_users', 'role', 'str', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('kernel_users', 'is_active', 'bool', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('kernel_users', 'password_hash', 'str', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('kernel_users', 'password_changed_at', 'datetime', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('kernel_sessions', 'id', 'str', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('kernel_sessions', 'user_id', 'str', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('kernel_sessions', 'refresh_hash', 'str', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('kernel_sessions', 'generation', 'int', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('kernel_sessions', 'nonce', 'str', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('kernel_sessions', 'rotated_at', 'datetime', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('kernel_sessions', 'last_used_at', 'datetime', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('kernel_sessions', 'expires_at', 'datetime', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('kernel_sessions', 'revoked_at', 'datetime', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('kernel_sessions', 'address', 'str', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('kernel_sessions', 'network', 'str', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('kernel_sessions', 'user_agent', 'str', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('kernel_login_failures', 'id', 'str', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('kernel_login_failures', 'account', 'str', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('kernel_login_failures', 'network', 'str', 0);
INSERT INTO kernel_upgrade.kernel_catalog VALUES ('kernel_login_failures', 'at', 'datetime', 0);
INSERT INTO kernel_upgrade.kernel_dead_letters VALUES ('d1', 'upgrade', 'k', '{}', '2026-01-01T00:00:00.000000Z', '2026-01-02T00:00:00.000000Z', 16, 'nobody took it');
INSERT INTO kernel_upgrade.kernel_jobs OVERRIDING SYSTEM VALUE VALUES (1, 'j1', 'default', 'upgrade.waits', 'queued', 0, 1795826398.125834, '{"payload":{"n":1}}', NULL, NULL, NULL, 0, 3, 1795826398.127193, NULL, NULL, NULL, NULL, NULL, 0, 0, 0, NULL, NULL, NULL);
INSERT INTO kernel_upgrade.kernel_meta VALUES ('format', 1);
INSERT INTO kernel_upgrade.kernel_meta VALUES ('generation', 19);
INSERT INTO kernel_upgrade.kernel_outbox VALUES (1, 'm1', 'upgrade', 'k', '{"kept":[1,"ü"]}', '2026-11-28T00:39:58.059640Z', NULL, NULL, 0);
INSERT INTO kernel_upgrade.kernel_users VALUES ('01a21f98-3368-76e5-a1a8-e6f1267edc8b', 'ada@example.com', NULL, NULL, 'admin', true, '$argon2id$v=19$m=19456,t=2,p=1$rKuRMA9pwQ16YSO6+32XxQ$LT7QDCZrtZQ9BA1bFCTtcMWHsvB+F2C+UhQrxTZhwOo', '2026-11-28 00:39:58.055764+00', '2026-11-28T00:39:58.056110Z', '2026-11-28T00:39:58.056110Z', NULL, NULL, NULL, 1);
INSERT INTO kernel_upgrade.parts VALUES ('p01', 'C-1', 0.125, '2026-11-28T00:39:57.582817Z', '2026-11-28T00:39:57.582817Z', NULL, NULL, NULL, 1);
INSERT INTO kernel_upgrade.parts VALUES ('p02', 'C-2', 0.25, '2026-11-28T00:39:57.583960Z', '2026-11-28T00:39:57.583960Z', NULL, NULL, NULL, 1);
INSERT INTO kernel_upgrade.parts VALUES ('p03', 'C-3', 0.375, '2026-11-28T00:39:57.585107Z', '2026-11-28T00:39:57.585107Z', NULL, NULL, NULL, 1);
INSERT INTO kernel_upgrade.parts VALUES ('p04', 'C-4', 0.5, '2026-11-28T00:39:57.586194Z', '2026-11-28T00:39:57.586194Z', NULL, NULL, NULL, 1);
INSERT INTO kernel_upgrade.parts VALUES ('p06', 'C-6', 0.75, '2026-11-28T00:39:57.588113Z', '2026-11-28T00:39:57.588113Z', NULL, NULL, NULL, 1);
INSERT INTO kernel_upgrade.parts VALUES ('p07', 'C-7', 0.875, '2026-11-28T00:39:57.588886Z', '2026-11-28T00:39:57.588886Z', NULL, NULL, NULL, 1);
INSERT INTO kernel_upgrade.parts VALUES ('p08', 'C-8', 1, '2026-11-28T00:39:57.589623Z', '2026-11-28T00:39:57.589623Z', NULL, NULL, NULL, 1);
INSERT INTO kernel_upgrade.parts VALUES ('p09', 'C-9', 1.125, '2026-11-28T00:39:57.590219Z', '2026-11-28T00:39:57.590219Z', NULL, NULL, NULL, 1);
INSERT INTO kernel_upgrade.parts VALUES ('p11', 'C-11', 1.375, '2026-11-28T00:39:57.591410Z', '2026-11-28T00:39:57.591410Z', NULL, NULL, NULL, 1);
INSERT INTO kernel_upgrade.parts VALUES ('p00', 'C-0', 0, '2026-11-28T00:39:57.579893Z', '2026-11-28T00:39:57.593384Z', NULL, NULL, '2026-11-28T00:39:57.593371Z', 2);
INSERT INTO kernel_upgrade.parts VALUES ('p10', 'C-10', 1.25, '2026-11-28T00:39:57.590818Z', '2026-11-28T00:39:57.598341Z', NULL, NULL, '2026-11-28T00:39:57.598331Z', 2);
INSERT INTO kernel_upgrade.parts VALUES ('p05', 'C-5', 0.625, '2026-11-28T00:39:57.587136Z', '2026-11-28T00:39:57.600128Z', NULL, NULL, NULL, 3);
INSERT INTO kernel_upgrade.parts VALUES ('p00b', 'C-0', NULL, '2026-11-28T00:39:57.606962Z', '2026-11-28T00:39:57.606962Z', NULL, NULL, NULL, 1);
INSERT INTO kernel_upgrade.parts_history VALUES ('p00', 'C-0', 0, '2026-11-28T00:39:57.579893Z', '2026-11-28T00:39:57.579893Z', NULL, NULL, NULL, 1, 'create', '2026-11-28T00:39:57.579893Z', NULL, NULL);
INSERT INTO kernel_upgrade.parts_history VALUES ('p01', 'C-1', 0.125, '2026-11-28T00:39:57.582817Z', '2026-11-28T00:39:57.582817Z', NULL, NULL, NULL, 1, 'create', '2026-11-28T00:39:57.582817Z', NULL, NULL);
INSERT INTO kernel_upgrade.parts_history VALUES ('p02', 'C-2', 0.25, '2026-11-28T00:39:57.583960Z', '2026-11-28T00:39:57.583960Z', NULL, NULL, NULL, 1, 'create', '2026-11-28T00:39:57.583960Z', NULL, NULL);
INSERT INTO kernel_upgrade.parts_history VALUES ('p03', 'C-3', 0.375, '2026-11-28T00:39:57.585107Z', '2026-11-28T00:39:57.585107Z', NULL, NULL, NULL, 1, 'create', '2026-11-28T00:39:57.585107Z', NULL, NULL);
INSERT INTO kernel_upgrade.parts_history VALUES ('p04', 'C-4', 0.5, '2026-11-28T00:39:57.586194Z', '2026-11-28T00:39:57.586194Z', NULL, NULL, NULL, 1, 'create', '2026-11-28T00:39:57.586194Z', NULL, NULL);
INSERT INTO kernel_upgrade.parts_history VALUES ('p05', 'C-5', 0.625, '2026-11-28T00:39:57.587136Z', '2026-11-28T00:39:57.587136Z', NULL, NULL, NULL, 1, 'create', '2026-11-28T00:39:57.587136Z', NULL, NULL);
INSERT INTO kernel_upgrade.parts_history VALUES ('p06', 'C-6', 0.75, '2026-11-28T00:39:57.588113Z', '2026-11-28T00:39:57.588113Z', NULL, NULL, NULL, 1, 'create', '2026-11-28T00:39:57.588113Z', NULL, NULL);
INSERT INTO kernel_upgrade.parts_history VALUES ('p07', 'C-7', 0.875, '2026-11-28T00:39:57.588886Z', '2026-11-28T00:39:57.588886Z', NULL, NULL, NULL, 1, 'create', '2026-11-28T00:39:57.588886Z', NULL, NULL);
INSERT INTO kernel_upgrade.parts_history VALUES ('p08', 'C-8', 1, '2026-11-28T00:39:57.589623Z', '2026-11-28T00:39:57.589623Z', NULL, NULL, NULL, 1, 'create', '2026-11-28T00:39:57.589623Z', NULL, NULL);
INSERT INTO kernel_upgrade.parts_history VALUES ('p09', 'C-9', 1.125, '2026-11-28T00:39:57.590219Z', '2026-11-28T00:39:57.590219Z', NULL, NULL, NULL, 1, 'create', '2026-11-28T00:39:57.590219Z', NULL, NULL);
INSERT INTO kernel_upgrade.parts_history VALUES ('p10', 'C-10', 1.25, '2026-11-28T00:39:57.590818Z', '2026-11-28T00:39:57.590818Z', NULL, NULL, NULL, 1, 'create', '2026-11-28T00:39:57.590818Z', NULL, NULL);
INSERT INTO kernel_upgrade.parts_history VALUES ('p11', 'C-11', 1.375, '2026-11-28T00:39:57.591410Z', '2026-11-28T00:39:57.591410Z', NULL, NULL, NULL, 1, 'create', '2026-11-28T00:39:57.591410Z', NULL, NULL);
INSERT INTO kernel_upgrade.parts_history VALUES ('p00', 'C-0', 0, '2026-11-28T00:39:57.579893Z', '2026-11-28T00:39:57.593384Z', NULL, NULL, '2026-11-28T00:39:57.593371Z', 2, 'delete', '2026-11-28T00:39:57.593384Z', NULL, NULL);
INSERT INTO kernel_upgrade.parts_history VALUES ('p05', 'C-5', 0.625, '2026-11-28T00:39:57.587136Z', '2026-11-28T00:39:57.596372Z', NULL, NULL, '2026-11-28T00:39:57.596356Z', 2, 'delete', '2026-11-28T00:39:57.596372Z', NULL, NULL);
INSERT INTO kernel_upgrade.parts_history VALUES ('p10', 'C-10', 1.25, '2026-11-28T00:39:57.590818Z', '2026-11-28T00:39:57.598341Z', NULL, NULL, '2026-11-28T00:39:57.598331Z', 2, 'delete', '2026-11-28T00:39:57.598341Z', NULL, NULL);
INSERT INTO kernel_upgrade.parts_history VALUES ('p05', 'C-5', 0.625, '2026-11-28T00:39:57.587136Z', '2026-11-28T00:39:57.600128Z', NULL, NULL, NULL, 3, 'restore', '2026-11-28T00:39:57.600128Z', NULL, NULL);
INSERT INTO kernel_upgrade.parts_history VALUES ('p00b', 'C-0', NULL, '2026-11-28T00:39:57.606962Z', '2026-11-28T00:39:57.606962Z', NULL, NULL, NULL, 1, 'create', '2026-11-28T00:39:57.606962Z', NULL, 'takes the place of a deleted one');
INSERT INTO kernel_upgrade.places VALUES ('here', 1.5, 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', '2026-11-28T00:39:57.769691Z', '2026-11-28T00:39:57.795322Z', NULL, NULL, NULL, 2);
INSERT INTO kernel_upgrade.places_history VALUES ('here', 1, 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', '2026-11-28T00:39:57.769691Z', '2026-11-28T00:39:57.769691Z', NULL, NULL, NULL, 1, 'create', '2026-11-28T00:39:57.769691Z', NULL, NULL);
INSERT INTO kernel_upgrade.places_history VALUES ('here', 1.5, 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', '2026-11-28T00:39:57.769691Z', '2026-11-28T00:39:57.795322Z', NULL, NULL, NULL, 2, 'update', '2026-11-28T00:39:57.795322Z', NULL, NULL);
INSERT INTO kernel_upgrade.tickets VALUES (3, 'three', '2026-11-28T00:39:57.866173Z', '2026-11-28T00:39:57.866173Z', NULL, NULL, NULL, 1);
INSERT INTO kernel_upgrade.tickets VALUES (1, 'one, changed', NULL, '2026-11-28T00:39:57.871129Z', NULL, NULL, NULL, 2);
INSERT INTO kernel_upgrade.tickets VALUES (2, 'two', NULL, '2026-11-28T00:39:57.874695Z', NULL, NULL, '2026-11-28T00:39:57.874684Z', 2);
INSERT INTO kernel_upgrade.tickets_history VALUES (3, 'three', '2026-11-28T00:39:57.866173Z', '2026-11-28T00:39:57.866173Z', NULL, NULL, NULL, 1, 'create', '2026-11-28T00:39:57.866173Z', NULL, NULL);
INSERT INTO kernel_upgrade.tickets_history VALUES (1, 'one', NULL, NULL, NULL, NULL, NULL, 1, 'adopt', '2026-11-28T00:39:57.871129Z', NULL, NULL);
INSERT INTO kernel_upgrade.tickets_history VALUES (1, 'one, changed', NULL, '2026-11-28T00:39:57.871129Z', NULL, NULL, NULL, 2, 'update', '2026-11-28T00:39:57.871129Z', NULL, NULL);
INSERT INTO kernel_upgrade.tickets_history VALUES (2, 'two', NULL, NULL, NULL, NULL, NULL, 1, 'adopt', '2026-11-28T00:39:57.874695Z', NULL, NULL);
INSERT INTO kernel_upgrade.tickets_history VALUES (2, 'two', NULL, '2026-11-28T00:39:57.874695Z', NULL, NULL, '2026-11-28T00:39:57.874684Z', 2, 'delete', '2026-11-28T00:39:57.874695Z', NULL, NULL);
INSERT INTO kernel_upgrade.visits VALUES ('v-int', '1.0', '2026-11-28T00:39:57.628627Z', '2026-11-28T00:39:57.628627Z', NULL, NULL, NULL, 1);
INSERT INTO kernel_upgrade.visits VALUES ('v-float', '2.5', '2026-11-28T00:39:57.657675Z', '2026-11-28T00:39:57.657675Z', NULL, NULL, NULL, 1);
INSERT INTO kernel_upgrade.visits VALUES ('v-str', '"text"', '2026-11-28T00:39:57.688409Z', '2026-11-28T00:39:57.688409Z', NULL, NULL, NULL, 1);
INSERT INTO kernel_upgrade.visits VALUES ('v-bool', 'true', '2026-11-28T00:39:57.690761Z', '2026-11-28T00:39:57.690761Z', NULL, NULL, NULL, 1);
INSERT INTO kernel_upgrade.visits VALUES ('v-dict', '{"json":1}', '2026-11-28T00:39:57.691808Z', '2026-11-28T00:39:57.691808Z', NULL, NULL, NULL, 1);
INSERT INTO kernel_upgrade.visits_history VALUES ('v-int', '1.0', '2026-11-28T00:39:57.628627Z', '2026-11-28T00:39:57.628627Z', NULL, NULL, NULL, 1, 'create', '2026-11-28T00:39:57.628627Z', NULL, NULL);
INSERT INTO kernel_upgrade.visits_history VALUES ('v-float', '2.5', '2026-11-28T00:39:57.657675Z', '2026-11-28T00:39:57.657675Z', NULL, NULL, NULL, 1, 'create', '2026-11-28T00:39:57.657675Z', NULL, NULL);
INSERT INTO kernel_upgrade.visits_history VALUES ('v-str', '"text"', '2026-11-28T00:39:57.688409Z', '2026-11-28T00:39:57.688409Z', NULL, NULL, NULL, 1, 'create', '2026-11-28T00:39:57.688409Z', NULL, NULL);
INSERT INTO kernel_upgrade.visits_history VALUES ('v-bool', 'true', '2026-11-28T00:39:57.690761Z', '2026-11-28T00:39:57.690761Z', NULL, NULL, NULL, 1, 'create', '2026-11-28T00:39:57.690761Z', NULL, NULL);
INSERT INTO kernel_upgrade.visits_history VALUES ('v-dict', '{"json":1}', '2026-11-28T00:39:57.691808Z', '2026-11-28T00:39:57.691808Z', NULL, NULL, NULL, 1, 'create', '2026-11-28T00:39:57.691808Z', NULL, NULL);
INSERT INTO kernel_upgrade.wide VALUES ('w', 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, '2026-11-28T00:39:57.747586Z', '2026-11-28T00:39:57.747586Z', NULL, NULL, NULL, 1);
INSERT INTO kernel_upgrade.wide_history VALUES ('w', 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, '2026-11-28T00:39:57.747586Z', '2026-11-28T00:39:57.747586Z', NULL, NULL, NULL, 1, 'create', '2026-11-28T00:39:57.747586Z', NULL, NULL);
SELECT pg_catalog.setval('kernel_upgrade.kernel_job_handovers_seq_seq', 1, false);
SELECT pg_catalog.setval('kernel_upgrade.kernel_jobs_seq_seq', 1, true);
SELECT pg_catalog.setval('kernel_upgrade.kernel_outbox_seq_seq', 1, true);
SELECT pg_catalog.setval('kernel_upgrade.tickets_id_seq', 3, true);
ALTER TABLE ONLY kernel_upgrade.books_history
    ADD CONSTRAINT books_history_pkey PRIMARY KEY (id, _version);
ALTER TABLE ONLY kernel_upgrade.books
    ADD CONSTRAINT books_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kernel_upgrade.everything_history
    ADD CONSTRAINT everything_history_pkey PRIMARY KEY (id, _version);
ALTER TABLE ONLY kernel_upgrade.everything
    ADD CONSTRAINT everything_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kernel_upgrade.gone_history
    ADD CONSTRAINT gone_history_pkey PRIMARY KEY (id, _version);
ALTER TABLE ONLY kernel_upgrade.gone
    ADD CONSTRAINT gone_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kernel_upgrade.kernel_catalog
    ADD CONSTRAINT kernel_catalog_pkey PRIMARY KEY (entity, field);
ALTER TABLE ONLY kernel_upgrade.kernel_dead_letters
    ADD CONSTRAINT kernel_dead_letters_pkey PRIMARY KEY (id, topic);
ALTER TABLE ONLY kernel_upgrade.kernel_inbox
    ADD CONSTRAINT kernel_inbox_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kernel_upgrade.kernel_job_handovers
    ADD CONSTRAINT kernel_job_handovers_id_key UNIQUE (id);
ALTER TABLE ONLY kernel_upgrade.kernel_job_handovers
    ADD CONSTRAINT kernel_job_handovers_pkey PRIMARY KEY (seq);
ALTER TABLE ONLY kernel_upgrade.kernel_job_queues
    ADD CONSTRAINT kernel_job_queues_pkey PRIMARY KEY (name);
ALTER TABLE ONLY kernel_upgrade.kernel_jobs
    ADD CONSTRAINT kernel_jobs_id_key UNIQUE (id);
ALTER TABLE ONLY kernel_upgrade.kernel_jobs
    ADD CONSTRAINT kernel_jobs_pkey PRIMARY KEY (seq);
ALTER TABLE ONLY kernel_upgrade.kernel_leases
    ADD CONSTRAINT kernel_leases_pkey PRIMARY KEY (name);
ALTER TABLE ONLY kernel_upgrade.kernel_login_failures
    ADD CONSTRAINT kernel_login_failures_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kernel_upgrade.kernel_meta
    ADD CONSTRAINT kernel_meta_pkey PRIMARY KEY (key);
ALTER TABLE ONLY kernel_upgrade.kernel_outbox
    ADD CONSTRAINT kernel_outbox_pkey PRIMARY KEY (seq);
ALTER TABLE ONLY kernel_upgrade.kernel_relay
    ADD CONSTRAINT kernel_relay_pkey PRIMARY KEY (name);
ALTER TABLE ONLY kernel_upgrade.kernel_sessions
    ADD CONSTRAINT kernel_sessions_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kernel_upgrade.kernel_users
    ADD CONSTRAINT kernel_users_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kernel_upgrade.parts_history
    ADD CONSTRAINT parts_history_pkey PRIMARY KEY (id, _version);
ALTER TABLE ONLY kernel_upgrade.parts
    ADD CONSTRAINT parts_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kernel_upgrade.places_history
    ADD CONSTRAINT places_history_pkey PRIMARY KEY (id, _version);
ALTER TABLE ONLY kernel_upgrade.places
    ADD CONSTRAINT places_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kernel_upgrade.tickets_history
    ADD CONSTRAINT tickets_history_pkey PRIMARY KEY (id, _version);
ALTER TABLE ONLY kernel_upgrade.tickets
    ADD CONSTRAINT tickets_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kernel_upgrade.visits_history
    ADD CONSTRAINT visits_history_pkey PRIMARY KEY (id, _version);
ALTER TABLE ONLY kernel_upgrade.visits
    ADD CONSTRAINT visits_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kernel_upgrade.wide_history
    ADD CONSTRAINT wide_history_pkey PRIMARY KEY (id, _version);
ALTER TABLE ONLY kernel_upgrade.wide
    ADD CONSTRAINT wide_pkey PRIMARY KEY (id);
CREATE INDEX ix_kernel_login_failures_account_at ON kernel_upgrade.kernel_login_failures USING btree (account NULLS FIRST, at NULLS FIRST);
CREATE INDEX ix_kernel_login_failures_at ON kernel_upgrade.kernel_login_failures USING btree (at NULLS FIRST);
CREATE INDEX ix_kernel_login_failures_network_at ON kernel_upgrade.kernel_login_failures USING btree (network NULLS FIRST, at NULLS FIRST);
CREATE INDEX ix_kernel_sessions_expires_at ON kernel_upgrade.kernel_sessions USING btree (expires_at NULLS FIRST);
CREATE INDEX ix_kernel_sessions_user_id ON kernel_upgrade.kernel_sessions USING btree (user_id NULLS FIRST);
CREATE INDEX ix_parts_weight_code ON kernel_upgrade.parts USING btree (weight NULLS FIRST, code NULLS FIRST);
CREATE INDEX kernel_inbox_received ON kernel_upgrade.kernel_inbox USING btree (received_at);
CREATE INDEX kernel_jobs_dead ON kernel_upgrade.kernel_jobs USING btree (queue) WHERE (status = 'dead'::text);
CREATE INDEX kernel_jobs_expires ON kernel_upgrade.kernel_jobs USING btree (expires_at) WHERE (expires_at IS NOT NULL);
CREATE INDEX kernel_jobs_ready ON kernel_upgrade.kernel_jobs USING btree (queue, rank, due, seq) WHERE (status = 'queued'::text);
CREATE INDEX kernel_jobs_running ON kernel_upgrade.kernel_jobs USING btree (seq) WHERE (status = 'running'::text);
CREATE INDEX kernel_jobs_scheduled ON kernel_upgrade.kernel_jobs USING btree (queue, due) WHERE (status = 'scheduled'::text);
CREATE UNIQUE INDEX kernel_jobs_unique ON kernel_upgrade.kernel_jobs USING btree (unique_key) WHERE ((unique_key IS NOT NULL) AND (status = ANY (ARRAY['scheduled'::text, 'queued'::text, 'running'::text])));
CREATE INDEX kernel_jobs_user ON kernel_upgrade.kernel_jobs USING btree (user_id, seq) WHERE (user_id IS NOT NULL);
CREATE INDEX kernel_outbox_sent ON kernel_upgrade.kernel_outbox USING btree (sent_at) WHERE (batch IS NOT NULL);
CREATE INDEX kernel_outbox_unsent ON kernel_upgrade.kernel_outbox USING btree (topic, seq) WHERE (batch IS NULL);
CREATE UNIQUE INDEX ux_kernel_users_email ON kernel_upgrade.kernel_users USING btree (email NULLS FIRST) WHERE (deleted_at IS NULL);
CREATE UNIQUE INDEX ux_kernel_users_username ON kernel_upgrade.kernel_users USING btree (username NULLS FIRST) WHERE (deleted_at IS NULL);
CREATE UNIQUE INDEX ux_parts_code ON kernel_upgrade.parts USING btree (code NULLS FIRST) WHERE (deleted_at IS NULL);

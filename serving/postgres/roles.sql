-- Two roles for a reelflow store: who publishes, and who reads. Run it once in the store's database, as its owner or a superuser:
--
--     psql -d videos -v ON_ERROR_STOP=1 -f serving/postgres/roles.sql
--
-- It may be run again, also when somebody else has published already: the store then becomes the writer's. Passwords are yours to
-- give: \password reelflow_writer. Roles of your own may be granted these.

DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'reelflow_writer') THEN
        CREATE ROLE reelflow_writer LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'reelflow_reader') THEN
        CREATE ROLE reelflow_reader LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION;
    END IF;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO reelflow_writer, reelflow_reader', current_database());
END $$;

-- The writer owns the schema and makes its tables with the first publication; then it lets the reader read what it needs, if
-- there is one. Nobody else may make or see anything there, and neither role may make anything elsewhere.
CREATE SCHEMA IF NOT EXISTS reelflow AUTHORIZATION reelflow_writer;
REVOKE ALL ON SCHEMA reelflow FROM PUBLIC;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA reelflow TO reelflow_reader;
DO $$ DECLARE relation regclass; BEGIN
    IF to_regclass('reelflow.schema_version') IS NOT NULL THEN
        ALTER SCHEMA reelflow OWNER TO reelflow_writer;
        FOR relation IN
            SELECT oid FROM pg_class WHERE relnamespace = 'reelflow'::regnamespace AND relkind IN ('r', 'p', 'v')
        LOOP
            EXECUTE format('ALTER TABLE %s OWNER TO reelflow_writer', relation);
        END LOOP;
    END IF;
END $$;
\ir grants.sql

-- Plain SQL finds the views by their names.
ALTER ROLE reelflow_reader SET search_path = reelflow;
ALTER ROLE reelflow_writer SET search_path = reelflow;

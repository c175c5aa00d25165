-- What reelflow_reader may read: the three views, and what the Python reader needs. Run by the store when it makes its tables, and
-- by roles.sql; it does nothing where there is no such role, or no store yet.

DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'reelflow_reader') AND to_regclass('reelflow.recommendations') IS NOT NULL THEN
        GRANT USAGE ON SCHEMA reelflow TO reelflow_reader;
        GRANT SELECT ON
            reelflow.recommendations, reelflow.fallback_recommendations, reelflow.publications, reelflow.schema_version,
            reelflow.publication_log, reelflow.full_lists, reelflow.delta_lists, reelflow.fallback_rows,
            reelflow.version_layers, reelflow.live_lists, reelflow.switch_log
        TO reelflow_reader;
    END IF;
END $$;

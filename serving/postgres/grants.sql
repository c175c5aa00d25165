-- What reelflow_reader may read: the three views, and what the Python reader needs, of versions that were live once: not what is
-- being loaded, or was given up. Run by the store when it makes its tables, and by roles.sql; it does nothing where there is no
-- such role, or no store yet.

DO $$ DECLARE lists text; BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'reelflow_reader') AND to_regclass('reelflow.recommendations') IS NOT NULL THEN
        GRANT USAGE ON SCHEMA reelflow TO reelflow_reader;
        GRANT SELECT ON
            reelflow.recommendations, reelflow.fallback_recommendations, reelflow.publications, reelflow.schema_version,
            reelflow.publication_log, reelflow.full_lists, reelflow.delta_lists, reelflow.fallback_rows,
            reelflow.version_layers, reelflow.live_lists, reelflow.switch_log
        TO reelflow_reader;
        FOREACH lists IN ARRAY ARRAY['full_lists', 'delta_lists', 'fallback_rows'] LOOP
            EXECUTE format('ALTER TABLE reelflow.%I ENABLE ROW LEVEL SECURITY', lists);
            EXECUTE format('DROP POLICY IF EXISTS was_live ON reelflow.%I', lists);
            EXECUTE format(
                'CREATE POLICY was_live ON reelflow.%1$I FOR SELECT TO reelflow_reader USING ((SELECT p.published_at'
                ' FROM reelflow.publication_log AS p WHERE p.version = %1$I.version) IS NOT NULL)',
                lists
            );
        END LOOP;
    END IF;
END $$;

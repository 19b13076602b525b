DROP TABLE rebuild_journal;
DROP TABLE rebuilds;

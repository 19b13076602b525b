DROP INDEX listing_views_region;
DROP INDEX listing_views_host;
ALTER TABLE listing_views DROP COLUMN grade;
ALTER TABLE listing_views DROP COLUMN region;
ALTER TABLE listing_views DROP COLUMN kind;
ALTER TABLE listing_views DROP COLUMN host;
DROP TABLE vouchers;

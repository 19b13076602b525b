DROP TABLE timeline;
DROP TABLE reviews;
DROP TABLE listing_views;
DROP TABLE trips;

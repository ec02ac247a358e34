-- A video library's database, as it has grown since 2005. The tables and columns are those of the data in data.sql.

CREATE TYPE mpaa_rating AS ENUM ('G', 'PG', 'PG-13', 'R', 'NC-17');
CREATE DOMAIN year AS integer CONSTRAINT year_check CHECK (VALUE >= 1901 AND VALUE <= 2155);

CREATE FUNCTION last_updated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.last_update = CURRENT_TIMESTAMP;
    RETURN NEW;
END $$;

CREATE TABLE language (
    language_id serial PRIMARY KEY,
    name character(20) NOT NULL,
    last_update timestamp NOT NULL DEFAULT now()
);

CREATE TABLE country (
    country_id serial PRIMARY KEY,
    country varchar(50) NOT NULL,
    last_update timestamp NOT NULL DEFAULT now()
);

CREATE TABLE city (
    city_id serial PRIMARY KEY,
    city varchar(50) NOT NULL,
    country_id integer NOT NULL REFERENCES country,
    last_update timestamp NOT NULL DEFAULT now()
);

CREATE TABLE address (
    address_id serial PRIMARY KEY,
    address varchar(50) NOT NULL,
    address2 varchar(50),
    district varchar(20) NOT NULL,
    city_id integer NOT NULL REFERENCES city,
    postal_code varchar(10),
    phone varchar(20) NOT NULL,
    last_update timestamp NOT NULL DEFAULT now()
);
COMMENT ON COLUMN address.address2 IS 'Second line. Empty and absent mean the same; older rows have one, newer the other.';

CREATE TABLE actor (
    actor_id serial PRIMARY KEY,
    first_name varchar(45) NOT NULL,
    last_name varchar(45) NOT NULL,
    last_update timestamp NOT NULL DEFAULT now()
);
CREATE INDEX idx_actor_last_name ON actor (last_name);

CREATE TABLE category (
    category_id serial PRIMARY KEY,
    name varchar(25) NOT NULL,
    last_update timestamp NOT NULL DEFAULT now()
);

CREATE TABLE film (
    film_id serial PRIMARY KEY,
    title varchar(255) NOT NULL,
    description text,
    release_year year,
    language_id integer NOT NULL REFERENCES language,
    original_language_id integer REFERENCES language,
    rental_duration smallint NOT NULL DEFAULT 3,
    rental_rate numeric(4,2) NOT NULL DEFAULT 4.99,
    length smallint,
    replacement_cost numeric(5,2) NOT NULL DEFAULT 19.99,
    rating mpaa_rating DEFAULT 'G',
    last_update timestamp NOT NULL DEFAULT now(),
    special_features text[],
    fulltext tsvector NOT NULL
);
COMMENT ON TABLE film IS 'A title. The copies of it that can be lent are in inventory.';
COMMENT ON COLUMN film.rental_duration IS 'Days that a copy may be kept';
COMMENT ON COLUMN film.length IS 'Minutes';
CREATE INDEX film_fulltext_idx ON film USING gist (fulltext);
CREATE TRIGGER film_fulltext_trigger BEFORE INSERT OR UPDATE ON film
    FOR EACH ROW EXECUTE FUNCTION tsvector_update_trigger('fulltext', 'pg_catalog.english', 'title', 'description');

CREATE TABLE film_actor (
    actor_id integer NOT NULL REFERENCES actor,
    film_id integer NOT NULL REFERENCES film,
    last_update timestamp NOT NULL DEFAULT now(),
    PRIMARY KEY (actor_id, film_id)
);
CREATE INDEX idx_fk_film_id ON film_actor (film_id);

CREATE TABLE film_category (
    film_id integer NOT NULL REFERENCES film,
    category_id integer NOT NULL REFERENCES category,
    last_update timestamp NOT NULL DEFAULT now(),
    PRIMARY KEY (film_id, category_id)
);

CREATE TABLE store (
    store_id serial PRIMARY KEY,
    manager_staff_id integer NOT NULL,
    address_id integer NOT NULL REFERENCES address,
    last_update timestamp NOT NULL DEFAULT now()
);

CREATE TABLE staff (
    staff_id serial PRIMARY KEY,
    first_name varchar(45) NOT NULL,
    last_name varchar(45) NOT NULL,
    address_id integer NOT NULL REFERENCES address,
    email varchar(50),
    store_id integer NOT NULL REFERENCES store,
    active boolean NOT NULL DEFAULT true,
    username varchar(16) NOT NULL,
    password varchar(40),
    last_update timestamp NOT NULL DEFAULT now(),
    picture bytea
);
COMMENT ON COLUMN staff.password IS 'SHA-1, never changed since';
ALTER TABLE store ADD FOREIGN KEY (manager_staff_id) REFERENCES staff;

CREATE TABLE customer (
    customer_id serial PRIMARY KEY,
    store_id integer NOT NULL REFERENCES store,
    first_name varchar(45) NOT NULL,
    last_name varchar(45) NOT NULL,
    email varchar(50),
    address_id integer NOT NULL REFERENCES address,
    activebool boolean NOT NULL DEFAULT true,
    create_date date NOT NULL DEFAULT 'now'::text::date,
    last_update timestamp DEFAULT now(),
    active integer
);
COMMENT ON COLUMN customer.active IS '0 or 1. What the programs look at; activebool has always been true';

CREATE TABLE inventory (
    inventory_id serial PRIMARY KEY,
    film_id integer NOT NULL REFERENCES film,
    store_id integer NOT NULL REFERENCES store,
    last_update timestamp NOT NULL DEFAULT now()
);
COMMENT ON TABLE inventory IS 'One copy of a film';

CREATE TABLE rental (
    rental_id serial PRIMARY KEY,
    rental_date timestamp NOT NULL,
    inventory_id integer NOT NULL REFERENCES inventory,
    customer_id integer NOT NULL REFERENCES customer,
    return_date timestamp,
    staff_id integer NOT NULL REFERENCES staff,
    last_update timestamp NOT NULL DEFAULT now()
);
COMMENT ON COLUMN rental.return_date IS 'Absent while the copy is out';
CREATE UNIQUE INDEX idx_unq_rental ON rental (rental_date, inventory_id, customer_id);

-- Payments of 2007 were to lie in tables of their own, a month each. Those of other years stay where they are.
CREATE TABLE payment (
    payment_id serial PRIMARY KEY,
    customer_id integer NOT NULL REFERENCES customer,
    staff_id integer NOT NULL REFERENCES staff,
    rental_id integer NOT NULL REFERENCES rental,
    amount numeric(5,2) NOT NULL,
    payment_date timestamp NOT NULL
);
CREATE TABLE payment_p2007_01 (CHECK (payment_date >= '2007-01-01' AND payment_date < '2007-02-01')) INHERITS (payment);
CREATE TABLE payment_p2007_02 (CHECK (payment_date >= '2007-02-01' AND payment_date < '2007-03-01')) INHERITS (payment);
CREATE TABLE payment_p2007_03 (CHECK (payment_date >= '2007-03-01' AND payment_date < '2007-04-01')) INHERITS (payment);
CREATE TABLE payment_p2007_04 (CHECK (payment_date >= '2007-04-01' AND payment_date < '2007-05-01')) INHERITS (payment);
CREATE TABLE payment_p2007_05 (CHECK (payment_date >= '2007-05-01' AND payment_date < '2007-06-01')) INHERITS (payment);
CREATE TABLE payment_p2007_06 (CHECK (payment_date >= '2007-06-01' AND payment_date < '2007-07-01')) INHERITS (payment);

CREATE FUNCTION payment_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.payment_date >= '2007-01-01' AND NEW.payment_date < '2007-07-01' THEN
        EXECUTE format('INSERT INTO payment_p%s SELECT $1.*', to_char(NEW.payment_date, 'YYYY_MM')) USING NEW;
        RETURN NULL;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER payment_insert BEFORE INSERT ON payment FOR EACH ROW EXECUTE FUNCTION payment_insert();

CREATE TRIGGER last_updated BEFORE UPDATE ON actor FOR EACH ROW EXECUTE FUNCTION last_updated();
CREATE TRIGGER last_updated BEFORE UPDATE ON address FOR EACH ROW EXECUTE FUNCTION last_updated();
CREATE TRIGGER last_updated BEFORE UPDATE ON category FOR EACH ROW EXECUTE FUNCTION last_updated();
CREATE TRIGGER last_updated BEFORE UPDATE ON city FOR EACH ROW EXECUTE FUNCTION last_updated();
CREATE TRIGGER last_updated BEFORE UPDATE ON country FOR EACH ROW EXECUTE FUNCTION last_updated();
CREATE TRIGGER last_updated BEFORE UPDATE ON customer FOR EACH ROW EXECUTE FUNCTION last_updated();
CREATE TRIGGER last_updated BEFORE UPDATE ON film FOR EACH ROW EXECUTE FUNCTION last_updated();
CREATE TRIGGER last_updated BEFORE UPDATE ON film_actor FOR EACH ROW EXECUTE FUNCTION last_updated();
CREATE TRIGGER last_updated BEFORE UPDATE ON film_category FOR EACH ROW EXECUTE FUNCTION last_updated();
CREATE TRIGGER last_updated BEFORE UPDATE ON inventory FOR EACH ROW EXECUTE FUNCTION last_updated();
CREATE TRIGGER last_updated BEFORE UPDATE ON language FOR EACH ROW EXECUTE FUNCTION last_updated();
CREATE TRIGGER last_updated BEFORE UPDATE ON rental FOR EACH ROW EXECUTE FUNCTION last_updated();
CREATE TRIGGER last_updated BEFORE UPDATE ON staff FOR EACH ROW EXECUTE FUNCTION last_updated();
CREATE TRIGGER last_updated BEFORE UPDATE ON store FOR EACH ROW EXECUTE FUNCTION last_updated();

CREATE VIEW film_list AS
    SELECT film.film_id AS fid, film.title, category.name AS category, film.rental_rate AS price, film.rating,
        string_agg(actor.first_name || ' ' || actor.last_name, ', ' ORDER BY actor.actor_id) AS actors
    FROM film
        LEFT JOIN film_category USING (film_id) LEFT JOIN category USING (category_id)
        LEFT JOIN film_actor USING (film_id) LEFT JOIN actor USING (actor_id)
    GROUP BY film.film_id, category.name;

CREATE VIEW customer_list AS
    SELECT customer.customer_id AS id, customer.first_name || ' ' || customer.last_name AS name, address.address,
        address.postal_code AS "zip code", address.phone, city.city, country.country,
        CASE WHEN customer.activebool THEN 'active' ELSE '' END AS notes, customer.store_id AS sid
    FROM customer JOIN address USING (address_id) JOIN city USING (city_id) JOIN country USING (country_id);

CREATE VIEW sales_by_store AS
    SELECT city.city || ',' || country.country AS store, manager.first_name || ' ' || manager.last_name AS manager,
        sum(payment.amount) AS total_sales
    FROM payment
        JOIN rental USING (rental_id) JOIN inventory USING (inventory_id) JOIN store USING (store_id)
        JOIN address USING (address_id) JOIN city USING (city_id) JOIN country USING (country_id)
        JOIN staff manager ON store.manager_staff_id = manager.staff_id
    GROUP BY country.country, city.city, store.store_id, manager.first_name, manager.last_name;
COMMENT ON VIEW sales_by_store IS 'For the quarter''s report';
